"""Notebooks are valid, name what exists, and are kept without their outputs; `make notebooks` runs them."""

import importlib
import json
import re
from pathlib import Path

import matplotlib
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


def cells(path: Path) -> list[tuple[str, str]]:
    """Name and source of each cell of code."""
    found = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    return [(f"{path.name}, {cell['id']}", "".join(cell["source"])) for cell in found]


@each_notebook
def test_notebook_parses_and_has_no_outputs(path: Path):
    notebook = json.loads(path.read_text())
    assert (notebook["nbformat"], notebook["cells"][0]["cell_type"]) == (4, "markdown")
    for name, source in cells(path):
        compile(source, name, "exec")
    for cell in notebook["cells"]:
        assert not cell.get("outputs") and not cell.get("execution_count"), "clear the outputs before committing"


@each_notebook
def test_what_a_notebook_imports_exists(path: Path):
    for _, source in cells(path):
        for module, names in re.findall(r"^from (vjepa[\w.]*) import (.+)$", source, re.MULTILINE):
            for name in names.split(", "):
                assert hasattr(importlib.import_module(module), name), f"{module} has no {name}"


def test_the_list_of_notebooks_is_whole():
    listed = re.findall(r"`(\w+\.ipynb)`", (FOLDER / "README.md").read_text())
    assert sorted(listed) == [path.name for path in NOTEBOOKS]


def test_the_notebook_of_masks_runs(tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    matplotlib.use("Agg")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "synthetic").symlink_to(tiny_world)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for name, source in cells(FOLDER / "masks.ipynb"):
        exec(compile(source, name, "exec"), names)
    names["plt"].close("all")
