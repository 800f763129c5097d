"""Law 1: a resumed run is the unbroken run."""

import json

import pytest
import torch

from tests.integration.runs import checkpoint, logged, vjepa

pytestmark = pytest.mark.slow

# 26 clips in batches of 4 make epochs of 6 batches: step 10 lies in the middle of the second.
COMMON = ("--checkpoint.every_n_steps=10", "--data.num_workers=1")


def test_a_killed_and_resumed_run_equals_the_unbroken_one_bit_for_bit(tiny_recipe):
    runs = tiny_recipe.parent / "runs"
    callback = {"class_path": "tests.integration.kill.KillAfterStep", "init_args": {"step": 13}}
    kill = f"--trainer.callbacks={json.dumps([callback])}"

    unbroken = vjepa("fit", "-c", tiny_recipe, "--name=unbroken", *COMMON)
    assert unbroken.returncode == 0, unbroken.stderr
    killed = vjepa("fit", "-c", tiny_recipe, "--name=killed", *COMMON, kill)
    assert killed.returncode == -9, killed.stderr
    assert checkpoint(runs / "killed" / "version_0")["global_step"] == 10
    resumed = vjepa("fit", "-c", tiny_recipe, "--name=killed", *COMMON, "--ckpt_path=last")
    assert resumed.returncode == 0, resumed.stderr

    ours, theirs = checkpoint(runs / "killed" / "version_0"), checkpoint(runs / "unbroken" / "version_0")
    assert ours["global_step"] == theirs["global_step"] == 20
    assert ours["ClipDataModule"] == theirs["ClipDataModule"]
    for name, tensor in theirs["state_dict"].items():
        assert torch.equal(ours["state_dict"][name], tensor), name
    ours_moments, theirs_moments = (run["optimizer_states"][0]["state"] for run in (ours, theirs))
    for number, state in theirs_moments.items():
        assert all(torch.equal(ours_moments[number][key], value) for key, value in state.items())
    losses = logged(runs / "killed" / "version_0", "train/loss")
    assert losses == logged(runs / "unbroken" / "version_0", "train/loss")
    assert len(losses) == 20
