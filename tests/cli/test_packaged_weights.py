"""Weights that come with the package load by name, and score what their cards say."""

import re
import runpy
from pathlib import Path

import pytest

from vjepa.cli.checkpoint_arguments import CheckpointArguments
from vjepa.cli.main import main
from vjepa.interop.native import SETTINGS
from vjepa.interop.opening import open_model, open_run
from vjepa.interop.packaged import RUN_SETTINGS, WEIGHTS_FOLDER, packaged_names, packaged_weights
from vjepa.training.world_model_run import WorldModelRun, holds_world_model, read_world_model

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "package_weights.py"))
TOLERANCE = {
    "physics": 3 / 32,
    "synthetic": 3 / SCRIPT["CLIPS"]["num_test"],
    "two_rooms": 1 / SCRIPT["EPISODES"],
}  # other decoders, other sums


def test_each_has_a_check_and_a_card():
    assert set(packaged_names()) == set(SCRIPT["CHECKS"]) == set(TOLERANCE)
    for name in packaged_names():
        card = (WEIGHTS_FOLDER / name / "README.md").read_text(encoding="utf-8")
        assert re.search(r"^\* Made by: `vjepa fit .*` at commit [0-9a-f]{7}", card, re.MULTILINE)
        assert (WEIGHTS_FOLDER / name / SETTINGS).exists() != (WEIGHTS_FOLDER / name / RUN_SETTINGS).exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", packaged_names())
def test_it_scores_what_its_card_says(name: str):
    check, what = SCRIPT["CHECKS"][name]
    card = (WEIGHTS_FOLDER / name / "README.md").read_text(encoding="utf-8")
    stated = float(re.search(r"^\* Score: ([\d.]+) ", card, re.MULTILINE)[1])
    assert what in card and abs(check(name) - stated) <= TOLERANCE[name] + 1e-3
    assert stated > (0.65 if name == "physics" else 0.3), "chance is 0.5 of pairs, 0.083 of motions, 0.1 of goals"


def test_names_are_no_paths_and_files_at_hand_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert packaged_weights("synthetic") == WEIGHTS_FOLDER / "synthetic"
    assert packaged_weights("none") is None and packaged_weights("../weights/synthetic") is None
    (tmp_path / "synthetic").mkdir()
    assert packaged_weights("synthetic") is None


def test_evaluations_read_them_and_write_below_the_runs():
    run = open_run(Path("synthetic"))
    assert run.predictor() is not None and run.encoder().embed_dim == 96
    assert CheckpointArguments(runs=Path("mine")).folder(run, "probe") == Path("mine/synthetic/probe")
    assert open_model("synthetic")[0].origin.licence == "Apache-2.0"
    assert holds_world_model(Path("two_rooms")) and not holds_world_model(Path("synthetic"))
    films = open_run(Path("physics"))
    own, targets = (films.encoder(which).state_dict() for which in ("context", "target"))
    assert any(not own[name].equal(targets[name]) for name in own), "targets stay as they were drawn"
    assert films.predictor().reads_past_alone and not holds_world_model(Path("physics"))
    assert open_model("physics", "context")[0].origin.encoder == "context encoder"
    world = read_world_model(Path("two_rooms"))
    assert world.step > 0 and world.title.startswith("two_rooms, step ")
    assert world.folder(Path("mine")) == Path("mine/two_rooms")
    assert CheckpointArguments(runs=Path("mine")).folder(world, "surprise") == Path("mine/two_rooms/surprise")


def test_an_encoder_is_no_world_model():
    with pytest.raises(ValueError, match="the packaged weights 'synthetic' are of an encoder of clips, not of a world"):
        read_world_model(Path("synthetic"))


@pytest.mark.slow
def test_a_first_plan_needs_neither_a_run_nor_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    def no_episodes(run: WorldModelRun):  # a checkout may have collected some
        raise ValueError("there are no episodes")

    monkeypatch.setattr(WorldModelRun, "data", no_episodes)
    monkeypatch.chdir(tmp_path)
    flags = ["--episodes=2", "--steps=8", "--baselines=[behaviour_cloning]", "--pictures=0", "--planner.samples=16"]
    main(["plan", "-c", "two_rooms", "--checkpoint=two_rooms", *flags])
    said = capsys.readouterr().out
    assert "planning with two_rooms, step 7500" in said and "no row of behaviour cloning" in said
    assert list((tmp_path / "runs" / "two_rooms" / "plan").glob("*.json"))
