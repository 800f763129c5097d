"""Recipes of surprise: each parses, answers for itself, and follows the protocol that it names."""

import re
from pathlib import Path

import pytest
import yaml

from tests.cli.test_probe_recipes import header, leaves, listed, parsed, parsed_with_defaults
from vjepa.evaluation.surprise.windows import PastWindows

ROOT = Path(__file__).parents[2]
RECIPES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "configs" / "surprise").glob("*.yaml"))
by_recipe = pytest.mark.parametrize("recipe", RECIPES)


@by_recipe
def test_recipe_parses_and_repeats_no_default(recipe: str):
    settings, defaults = parsed_with_defaults(recipe)
    PastWindows(**vars(settings.windows)).require_tubelets(2)
    for key in leaves(yaml.safe_load((ROOT / recipe).read_text(encoding="utf-8"))):
        assert key in settings and listed(settings[key]) != listed(defaults[key]), f"{recipe}: {key}"


@by_recipe
def test_header_says_all_there_is_to_say(recipe: str):
    text = header(recipe)
    for field in ("Paper", "Command", "Hardware", "Hours", "Expect"):
        assert re.search(rf"^# {field}: +\S", text, re.MULTILINE), field
    assert f"vjepa surprise -c {recipe}" in text
    if "physics" not in recipe:
        assert "as published" in text and f"--pairs={Path(recipe).stem} " in text


def test_windows_are_those_of_the_published_protocol():
    for name in ("intphys", "grasp", "inflevel"):
        windows = parsed(f"configs/surprise/{name}.yaml").windows
        assert (windows.num_frames, tuple(windows.context_lengths), windows.stride) == (16, (2, 4, 6, 8, 10), 2)
        assert (windows.distance, windows.exponent, windows.targets) == ("power", 1.0, "window")
    newer = parsed("configs/surprise/intphys2.yaml")
    assert (newer.windows.num_frames, newer.windows.context_lengths[0], newer.windows.context_lengths[-1]) == (
        48,
        12,
        42,
    )
    assert newer.data.fps == 6.0
