"""Recipes of dense evaluation: each parses, answers for itself, and reads a folder of the layout that it names."""

import re
from pathlib import Path

import pytest
from jsonargparse import Namespace

from vjepa.cli.evaluation.segment_command import run_segment_command
from vjepa.cli.parser import HelpfulParser

ROOT = Path(__file__).parents[2]
RECIPES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "configs" / "segment").glob("*.yaml"))


class Parsed(Exception):  # noqa: N818 (no error)
    """Thrown in place of what the command would do next."""


def parsed(recipe: str) -> Namespace:
    def stop(parser: HelpfulParser, settings: Namespace) -> None:
        raise Parsed(settings)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Parsed) as found:
        patch.setattr(HelpfulParser, "instantiate", stop)
        run_segment_command(["-c", str(ROOT / recipe)])
    return found.value.args[0]


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_parses_and_its_header_answers(recipe: str):
    settings = parsed(recipe)
    assert settings.data.test_manifest and all(side % 8 == 0 for side in settings.data.size)
    text = (ROOT / recipe).read_text(encoding="utf-8")
    for field in ("Paper", "Command", "Hardware", "Hours", "Expect"):
        assert re.search(rf"^# {field}: +\S", text, re.MULTILINE), field
    assert re.search(rf"(vjepa segment -c {re.escape(recipe)}\b|make segment)", text)


def test_the_protocol_of_propagation_is_dino_s():
    found = parsed("configs/segment/davis2017.yaml").propagation
    assert (found.num_last_frames, found.num_neighbours, found.temperature) == (7, 5, 0.1)


def test_heads_learn_on_other_videos_than_they_are_scored_on():
    data = parsed("configs/segment/jhmdb.yaml").data
    assert (data.train_manifest, data.train_split, data.test_split) == (None, "train", "val")
    data = parsed("configs/segment/synthetic.yaml").data
    assert data.train_manifest.endswith("train.csv") and data.test_manifest.endswith("test.csv")
