"""`vjepa collect` and `vjepa plan`: from nothing to a report, and one sentence for every slip."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from vjepa.cli.checkpoint_arguments import CheckpointArguments
from vjepa.cli.embed_command import chosen_encoder
from vjepa.cli.parser import HelpfulParser
from vjepa.cli.simulation.collect_command import collect_episodes, run_collect_command
from vjepa.cli.simulation.plan_command import plan, run_plan_command
from vjepa.data.episodes.collection import Collection
from vjepa.models import Predictor, VideoEncoder
from vjepa.planning.limits import ActionLimit
from vjepa.training.world_model_run import read_world_model

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")

ROOT = Path(__file__).parents[2]
SUITE = ["--suite=vjepa.envs.two_rooms.TwoRooms", "--suite.layouts=random"]
TINY_SEARCH = [
    "--planner=vjepa.planning.cross_entropy.CrossEntropyMethod",
    "--planner.horizon=3",
    "--planner.samples=8",
    "--planner.elites=2",
    "--planner.iterations=2",
]
TINY_RUN = ["--episodes=3", "--steps=8", "--oracle_episodes=2", "--pictures=2"]
TINY_CLONING = ["--cloning.steps=5", "--cloning.tuning_tasks=2", "--cloning.batch_size=8"]
MODEL = {
    "class_path": "vjepa.training.world_model.WorldModel",
    "init_args": {
        "action_dim": 2,
        "frame_step": 4,
        "encoder": {
            "class_path": "vjepa.models.frame_encoder.ConvFrameEncoder",
            "init_args": {"frame_size": [64, 64], "embed_dim": 6, "channels": 4, "num_keypoints": 2, "hidden_dim": 8},
        },
        "dynamics": {
            "class_path": "vjepa.models.dynamics.residual.ResidualDynamics",
            "init_args": {"hidden_dim": 8},
        },
    },
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two runs that were trained on nothing, and the data that they would have been trained on."""
    folder = tmp_path_factory.mktemp("runs")
    data = folder / "episodes"
    run_collect_command(
        [*SUITE, "--behaviour=vjepa.envs.behaviour.RandomWalk", f"--output={data}", "--episodes=4", "--steps=48"]
    )
    settings = {
        "model": MODEL,
        "data": {
            "class_path": "vjepa.data.episodes.data_module.EpisodeDataModule",
            "init_args": {"root": str(data), "val_fraction": 0.25},
        },
    }
    for seed in range(2):
        write_run(folder / "tiny" / f"version_{seed}", settings, seed)
    return folder


def write_run(folder: Path, settings: dict, seed: int = 0) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    torch.manual_seed(seed)
    model = built(folder / "config.yaml")
    checkpoint = folder / "checkpoints" / "last.ckpt"
    torch.save({"state_dict": model.state_dict(), "global_step": 7 + seed}, checkpoint)
    return checkpoint


def built(settings: Path) -> torch.nn.Module:
    from vjepa.interop.recipe import read_recipe
    from vjepa.training.world_model import WorldModel
    from vjepa.training.world_model_run import _built

    return _built("model", WorldModel, read_recipe(settings), settings)


def refused(*arguments: object) -> str:
    with pytest.raises(ValueError) as error:
        run_plan_command([*SUITE, *TINY_SEARCH, *TINY_RUN, *map(str, arguments)])
    return str(error.value)


@pytest.mark.slow
def test_planning_ends_in_a_table_a_report_pictures_and_a_film(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    arguments = [*SUITE, *TINY_SEARCH, *TINY_RUN, *TINY_CLONING, f"--runs={runs}"]
    run_plan_command([*arguments, "--splits=[held_out]", f"--output={tmp_path / 'once'}"])
    said = capsys.readouterr().out
    for row in ("world model", "oracle", "behaviour cloning", "straight line", "random walk"):
        assert f"│ {row} " in said
    report = json.loads((tmp_path / "once" / "goal_reaching.json").read_text())
    assert report["configuration"]["planner"]["init_args"]["horizon"] == 3
    assert report["checkpoints"][0]["step"] in (7, 8)
    assert [len(result["episodes"]["last"]) for result in report["results"]] == [3, 2, 3, 3, 3]
    drawn = {"paths_held_out", "energy_held_out", "episodes_held_out"}
    assert {path.stem for path in (tmp_path / "once").iterdir()} == drawn | {"goal_reaching"}

    others = ["--splits=[test,held_out]", "--episodes_per_batch=1", "--pictures=0"]
    run_plan_command([*arguments, *others, f"--output={tmp_path / 'again'}"])
    again = json.loads((tmp_path / "again" / "goal_reaching.json").read_text())
    assert {name: len(tasks["seeds"]) for name, tasks in again["manifests"].items()} == {"test": 3, "held_out": 3}
    assert again["manifests"]["held_out"] == report["manifests"]["held_out"]
    held_out = [result["episodes"] for result in again["results"] if result["split"] == "held_out"]
    assert held_out == [result["episodes"] for result in report["results"]]


def test_several_checkpoints_are_one_row_with_their_spread(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    both = sorted(runs.glob("tiny/*/checkpoints/last.ckpt"))
    given = ["--checkpoint", json.dumps([str(path) for path in both]), "--baselines=[straight_line]", "--pictures=0"]
    run_plan_command([*SUITE, *TINY_SEARCH, *TINY_RUN, *given, f"--output={tmp_path}"])
    assert "± 0.0" in capsys.readouterr().out
    report = json.loads((tmp_path / "goal_reaching.json").read_text())
    assert [result["checkpoint"] for result in report["results"]] == [*map(str, both), None]


def test_a_run_is_read_whole_and_frozen(runs: Path):
    run = read_world_model(runs / "tiny" / "version_1")
    assert run.name.startswith("tiny/version_")
    assert not any(parameter.requires_grad for parameter in run.model.parameters())
    assert not run.model.training
    assert run.data().store.num_episodes == 4


def test_checkpoints_that_no_model_can_be_planned_with(runs: Path, tmp_path: Path):
    assert refused(f"--runs={tmp_path}") == (
        f"there is no run below {tmp_path} of a world model of two_rooms; start one (`make worldmodel`), or give "
        f"--checkpoint"
    )
    assert refused(f"--checkpoint={tmp_path}/none.ckpt") == f"there is no checkpoint file {tmp_path}/none.ckpt"
    assert refused(f"--checkpoint={tmp_path}") == f"{tmp_path} is no folder of a run: it has no checkpoints/last.ckpt"
    masked = tmp_path / "run" / "version_0"
    (masked / "checkpoints").mkdir(parents=True)
    (masked / "config.yaml").write_text(yaml.safe_dump({"model": {"class_path": "vjepa.training.JEPA"}}))
    torch.save({"state_dict": {}}, masked / "checkpoints" / "last.ckpt")
    said = refused(f"--checkpoint={masked}/checkpoints/last.ckpt")
    assert "is of a JEPA, which predicts nothing from actions; give the checkpoint of a world model" in said
    assert f"below {tmp_path} of a world model of two_rooms; start one" in refused(f"--runs={tmp_path}")
    alone = tmp_path / "alone" / "last.ckpt"
    alone.parent.mkdir()
    alone.write_bytes(next(runs.glob("*/*/checkpoints/last.ckpt")).read_bytes())
    assert "give the run's config.yaml with --settings" in refused(f"--checkpoint={alone}")


def test_a_model_that_sees_frames_of_another_size_is_refused(runs: Path, tmp_path: Path):
    smaller = json.loads(json.dumps(MODEL))
    smaller["init_args"]["encoder"]["init_args"]["frame_size"] = [32, 32]
    checkpoint = write_run(tmp_path / "tiny" / "version_0", {"model": smaller})
    assert "the model sees frames of 32x32 pixels, and those of two_rooms, goals too, have 64x64" in refused(
        f"--checkpoint={checkpoint}"
    )


def test_newer_runs_of_other_robots_worlds_and_clips_are_skipped(runs: Path, tmp_path: Path, capsys):
    robot, elsewhere = json.loads(json.dumps(MODEL)), json.loads(json.dumps(MODEL))
    robot["init_args"]["action_dim"] = 26
    fitting = write_run(tmp_path / "runs" / "tiny" / "version_0", {"model": MODEL})
    write_run(tmp_path / "runs" / "robot" / "version_0", {"model": robot})
    bounded = write_run(tmp_path / "runs" / "push" / "version_0", {"model": elsewhere})
    model = read_world_model(bounded).model
    model.actions.set_limit(ActionLimit(0.5, "norm"))
    torch.save({"state_dict": model.state_dict()}, bounded)
    clips = tmp_path / "runs" / "clips" / "version_0"
    (clips / "checkpoints").mkdir(parents=True)
    (clips / "config.yaml").write_text(yaml.safe_dump({"model": {"class_path": "vjepa.training.JEPA"}}))
    torch.save({"state_dict": {}}, clips / "checkpoints" / "last.ckpt")
    (tmp_path / "runs" / "begun" / "version_0").mkdir(parents=True)
    (tmp_path / "runs" / "begun" / "version_0" / "config.yaml").write_text("{}")
    for age, name in enumerate(("begun", "clips", "push", "robot", "tiny")):
        for file in (tmp_path / "runs" / name).rglob("*.*"):
            os.utime(file, (1_000 - age, 1_000 - age))
    given = ["--baselines=[]", "--pictures=0", f"--runs={tmp_path / 'runs'}", f"--output={tmp_path / 'plan'}"]
    run_plan_command([*SUITE, *TINY_SEARCH, *TINY_RUN, *given])
    said = capsys.readouterr().out
    assert f"planning with {fitting}, step 7" in said
    assert "the newest run of a world model of two_rooms is " in said and "(it has no checkpoint)" in said
    assert "is of a JEPA, which predicts nothing from actions" in said
    assert "the model's actions have 26 numbers, those of two_rooms have 2" in said
    assert "the model's actions are bounded by 0.5 (norm), those of two_rooms by" in said


def test_a_run_s_folder_is_planned_with(runs: Path, tmp_path: Path, capsys):
    given = ["--baselines=[]", "--pictures=0", f"--checkpoint={runs / 'tiny/version_0'}", f"--output={tmp_path}"]
    run_plan_command([*SUITE, *TINY_SEARCH, *TINY_RUN, *given])
    assert f"planning with {runs}/tiny/version_0/checkpoints/last.ckpt, step 7" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["probe", "anticipate", "embed"])
def test_commands_of_clips_skip_a_newer_world_model(runs: Path, tmp_path: Path, capsys, kind: str):
    world = write_run(tmp_path / "world" / "version_0", {"model": MODEL, "data": {"init_args": {}}})
    encoder = {"embed_dim": 24, "depth": 1, "num_heads": 2, "tubelet": [2, 8, 8]}
    predictor = {"embed_dim": 24, "depth": 1, "num_heads": 2}
    settings = {
        "model": {"class_path": "vjepa.training.JEPA", "init_args": {"encoder": encoder, "predictor": predictor}},
        "data": {"init_args": {"num_frames": 4, "crop_size": [32, 32], "fps": None, "frame_step": 2}},
    }
    clips = tmp_path / "clips" / "version_0"
    (clips / "checkpoints").mkdir(parents=True)
    (clips / "config.yaml").write_text(yaml.safe_dump(settings))
    networks = {"target_encoder": VideoEncoder(**encoder), "predictor": Predictor(encoder_dim=24, **predictor)}
    weights = {f"{name}.{key}": each for name, part in networks.items() for key, each in part.state_dict().items()}
    torch.save({"state_dict": weights, "global_step": 5}, clips / "checkpoints" / "last.ckpt")
    for file in clips.rglob("*.*"):
        os.utime(file, (1_000, 1_000))
    taken = (
        chosen_encoder(runs=tmp_path).source
        if kind == "embed"
        else str(CheckpointArguments(runs=tmp_path).read(with_predictor=kind == "anticipate").checkpoint)
    )
    assert taken == str(clips / "checkpoints" / "last.ckpt")
    said = capsys.readouterr().out
    assert f"skipped {world.parents[1]} (" in said and "is of a WorldModel, which has no encoder of clips" in said


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--splits=[tset]", "split 'tset' of Two Rooms must be one of train, test"),
        ("--splits=[]", "there is nothing to evaluate"),
        ("--over=paht", ""),
        ("--episodes=0", "episodes (0) must be at least 1"),
        ("--replan_every=4", "replan_every (4) must be from 1 to the planner's horizon (3)"),
    ],
)
def test_a_slip_in_the_settings_is_one_sentence(runs: Path, flag: str, sentence: str, capsys: pytest.CaptureFixture):
    if sentence:
        assert sentence in refused(f"--runs={runs}", "--baselines=[]", flag)
        return
    with pytest.raises(SystemExit) as exit_:  # the parser's own
        run_plan_command([*SUITE, *TINY_SEARCH, flag])
    assert exit_.value.code == 2
    assert "'over': " in capsys.readouterr().err


def test_collecting_again_skips_the_same_and_refuses_another(tmp_path: Path, capsys: pytest.CaptureFixture):
    folder = tmp_path / "episodes"
    arguments = [*SUITE, "--behaviour=vjepa.envs.behaviour.Wander", "--episodes=3", "--steps=8", f"--output={folder}"]
    run_collect_command(arguments)
    assert f"{folder}: 3 episodes with 24 transitions, " in capsys.readouterr().out
    collection = Collection(folder)
    assert collection.world["suite"]["init_args"]["layouts"] == "random"
    assert collection.frames(0, np.array([0, 4, 8])).shape == (3, 64, 64, 3)
    before = (folder / "frames.npy").stat().st_mtime_ns
    run_collect_command([*arguments, "--episodes_per_batch=1"])
    assert "holds these episodes already" in capsys.readouterr().out
    assert (folder / "frames.npy").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match=r"holds other episodes: seed 0, not 1; give another --output, or remove"):
        run_collect_command([*arguments, "--seed=1"])
    with pytest.raises(ValueError, match="is there already, and holds no collection; give another --output"):
        run_collect_command([*arguments, f"--output={tmp_path}"])


@pytest.mark.parametrize(
    ("recipe", "function"),
    [
        *((path, plan) for path in sorted((ROOT / "configs" / "plan").glob("two_rooms*.yaml"))),
        *((path, collect_episodes) for path in sorted((ROOT / "configs" / "collect").glob("two_rooms*.yaml"))),
    ],
    ids=lambda value: value.stem if isinstance(value, Path) else "",
)
def test_recipes_parse_and_build_their_parts(recipe: Path, function):
    parser = HelpfulParser(exit_on_error=False)
    parser.add_argument("-c", "--config", action="config")
    parser.add_function_arguments(function, skip={"configuration"})
    given = parser.instantiate(parser.parse_args(["-c", str(recipe)])).as_dict()
    assert given["suite"].name == "two_rooms"
