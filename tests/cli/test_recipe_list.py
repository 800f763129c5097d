"""configs/README.md lists what the headers of the recipes say, and `make` finds the data that a recipe needs."""

import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

from vjepa.interop.recipe import read_recipe

ROOT = Path(__file__).parents[2]


def test_the_list_of_recipes_is_made_from_their_headers():
    script = runpy.run_path(str(ROOT / "scripts" / "list_recipes.py"))
    assert script["README"].read_text(encoding="utf-8") == script["index"](), "run `make recipes`"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("name", ["synthetic", "synthetic_sigreg", "small_videos", "vjepa2_vith16_256px_64f_cooldown"])
def test_make_renders_the_embedded_dataset_for_recipes_on_it_and_their_layers(name: str, tmp_path):
    recipe = ROOT / "configs" / "pretrain" / f"{name}.yaml"
    (tmp_path / ".installed").touch()
    command = ["make", "-n", "pretrain", f"CONFIG={recipe}", f"VENV={tmp_path}", f"EMBEDDED_DATA={tmp_path / 'none'}"]
    planned = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    needs_data = "data/synthetic/" in str(read_recipe(recipe)["data"])
    assert ("make-data" in planned) == needs_data
