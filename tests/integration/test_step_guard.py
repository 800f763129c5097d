"""Bad steps are skipped, counted, kept, and run again alone to the same loss."""

import json
import re
from pathlib import Path

import pytest
import torch

from tests.integration.runs import checkpoint, logged, vjepa
from tests.integration.test_world_model_fit import RECIPE as WORLD_MODEL
from tests.training.tiny_dot_world import write_dot_world
from vjepa.cli.main import main
from vjepa.monitoring import StepGuard

pytestmark = pytest.mark.slow

OVERFLOW = 1e39  # infinite in float32, and nan times zero


def spoilt(*steps: int, factor: float) -> str:
    callback = {"class_path": "tests.integration.kill.SpoilGradient", "init_args": {"steps": steps, "factor": factor}}
    return f"--trainer.callbacks={json.dumps([callback])}"


def fit(recipe: Path, *flags: str) -> Path:
    main(["fit", "-c", str(recipe), "--name=a", *flags])
    return recipe.parent / "runs" / "a" / "version_0"


def losses_of_replay(folder: Path, capsys) -> tuple[float, float]:
    capsys.readouterr()
    main(["replay", str(folder)])
    said = capsys.readouterr().out
    in_run, again = (float(re.search(rf"{word} +(\S+)", said)[1]) for word in ("loss in the run", "loss replayed"))
    return in_run, again


@pytest.mark.parametrize(
    ("factor", "flags", "words"),
    [
        (OVERFLOW, (), "; `vjepa replay"),
        (1e4, ("--guard.deviations=20", "--guard.window=8"), "of the 7 steps before"),
    ],
)
def test_a_bad_step_changes_nothing_and_is_replayed(tiny_recipe, capsys, factor, flags, words):
    run = fit(tiny_recipe, spoilt(7, factor=factor), "--checkpoint.keep_every_n_steps=1", *flags)
    said = capsys.readouterr().out
    assert "step 7 was skipped: the gradient's norm is" in said and words in said
    before, after = (
        torch.load(run / "checkpoints" / f"step_{step}.ckpt", weights_only=True)["state_dict"] for step in (7, 8)
    )
    assert all(before[name].equal(after[name]) for name in before if not name.startswith("target_encoder"))
    assert all(tensor.isfinite().all() for tensor in checkpoint(run)["state_dict"].values())
    assert logged(run, "health/skipped_steps") == [1.0]
    in_run, again = losses_of_replay(run / "skipped" / "step_7", capsys)
    assert again == pytest.approx(in_run, abs=1e-6) and in_run == pytest.approx(logged(run, "train/loss")[7], abs=1e-6)


def test_a_healthy_run_is_the_same_with_and_without(tiny_recipe):
    guarded = checkpoint(fit(tiny_recipe, "--guard.deviations=50"))["state_dict"]
    main(["fit", "-c", str(tiny_recipe), "--name=b", "--guard.enabled=false"])
    plain = checkpoint(tiny_recipe.parent / "runs" / "b" / "version_0")["state_dict"]
    assert all(guarded[name].equal(tensor) for name, tensor in plain.items())


def test_too_many_in_a_row_stop_the_run_or_take_it_back(tiny_recipe, capsys):
    bad = spoilt(*range(9, 20), factor=OVERFLOW)
    with pytest.raises(SystemExit) as ended:
        fit(tiny_recipe, bad, "--guard.most_in_a_row=3", "--guard.keep=0")
    assert ended.value.code == 2
    assert "3 steps in a row were skipped, the last at step 11" in capsys.readouterr().err
    rewind = ("--guard.most_in_a_row=3", "--guard.then=rewind", "--checkpoint.every_n_steps=5", "--guard.keep=0")
    main(["fit", "-c", str(tiny_recipe), "--name=b", spoilt(9, 10, 11, factor=OVERFLOW), *rewind])
    said = capsys.readouterr().out
    assert re.search(r"back to \S+b/version_0/checkpoints/last.ckpt, at 0.5 of the learning rate", said)
    rates = logged(tiny_recipe.parent / "runs" / "b" / "version_0", "schedule/learning_rate")
    assert rates[13] < 0.6 * rates[9]


def test_two_ranks_keep_their_batches_and_the_common_one_has_their_loss(tiny_recipe, capsys):
    ddp = ("--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.max_steps=5")
    done = vjepa("fit", "-c", tiny_recipe, "--name=a", *ddp, spoilt(3, factor=OVERFLOW), ranks=2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("step 3 was skipped") == 1
    folder = tiny_recipe.parent / "runs" / "a" / "version_0" / "skipped" / "step_3"
    assert {file.name for file in folder.iterdir()} == {"rank_0.pt", "rank_1.pt", "weights.pt"}
    in_run, again = losses_of_replay(folder, capsys)
    assert again == pytest.approx(in_run, abs=1e-5)


def test_a_world_model_too(tmp_path, capsys):
    recipe = tmp_path / "dots.yaml"
    recipe.write_text(WORLD_MODEL.replace("EPISODES", str(write_dot_world(tmp_path / "episodes"))))
    flags = ["--model.dynamics_phase=null", "--model.temporal_distance=null", f"--runs={tmp_path / 'runs'}"]
    run = fit(recipe, *flags, spoilt(4, factor=OVERFLOW))
    in_run, again = losses_of_replay(run / "skipped" / "step_4", capsys)
    assert again == pytest.approx(in_run, abs=1e-6)


def test_slips_are_one_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["replay", str(tmp_path)])
    assert ended.value.code == 2 and "holds no skipped step" in capsys.readouterr().err
    with pytest.raises(ValueError, match="then 'wait' must be one of stop, lower, rewind"):
        StepGuard(then="wait")
    with pytest.raises(ValueError, match=r"window \(2\) must be at least 4"):
        StepGuard(window=2)
    torch.save({"state_dict": {}}, tmp_path / "rank_0.pt")
    torch.save({}, tmp_path / "weights.pt")
    with pytest.raises(SystemExit):
        main(["replay", str(tmp_path)])
    assert "is not as a run writes it" in capsys.readouterr().err
