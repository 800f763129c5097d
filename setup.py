"""Wheels carry the recipes: `configs` of the checkout is copied into the package, where `-c NAME` finds it."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithRecipes(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            self.copy_tree("configs", str(Path(self.build_lib, "vjepa", "configs")))


setup(cmdclass={"build_py": BuildWithRecipes})
