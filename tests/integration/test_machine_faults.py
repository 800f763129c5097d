"""A machine that fails ends a run with one sentence, and leaves the last good checkpoint."""

import json
from pathlib import Path

import pytest

from tests.integration.runs import checkpoint, vjepa
from vjepa.interop.loading import fault_of

pytestmark = pytest.mark.slow


def fault(name: str, step: int) -> str:
    callbacks = [{"class_path": f"tests.integration.kill.{name}", "init_args": {"step": step}}]
    return f"--trainer.callbacks={json.dumps(callbacks)}"


@pytest.mark.parametrize("asynchronous", ["false", "true"])
def test_a_disk_that_is_full_ends_the_run_and_leaves_the_last_checkpoint(tiny_recipe, asynchronous):
    arguments = ["fit", "-c", tiny_recipe, "--name=a", "--checkpoint.every_n_steps=5"]
    run = vjepa(*arguments, f"--checkpoint.asynchronous={asynchronous}", fault("FullDiskAfterStep", 7))
    folder = tiny_recipe.parent / "runs" / "a" / "version_0"
    assert run.returncode == 2 and "Traceback" not in run.stderr, run.stderr
    assert f"vjepa: error: {folder}/checkpoints/last.ckpt: File too large; free some space" in run.stderr
    assert checkpoint(folder)["global_step"] == 5 and fault_of(folder / "checkpoints" / "last.ckpt") is None
    assert vjepa(*arguments, "--ckpt_path=last").returncode == 0
    assert checkpoint(folder)["global_step"] == 20


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a folder that nobody can write to")
def test_a_folder_that_can_not_be_written_is_told_before_the_first_step(tiny_recipe):
    run = vjepa("fit", "-c", tiny_recipe, "--runs=/sys/kernel/runs", fault("KillAfterStep", 1))
    assert run.returncode == 2
    assert "give a folder that can be written" in run.stderr


def test_a_data_worker_that_dies_ends_the_run_with_the_way_out(tiny_recipe):
    flags = ["--data.num_workers=2", "--checkpoint.every_n_steps=5", "--trainer.max_steps=200"]
    run = vjepa("fit", "-c", tiny_recipe, "--name=a", *flags, fault("KillWorkersAfterStep", 7))
    assert run.returncode == 2 and "Traceback" not in run.stderr, run.stderr
    assert "vjepa: error: a process that reads data has died" in run.stderr and "--ckpt_path=last" in run.stderr
    assert checkpoint(tiny_recipe.parent / "runs" / "a" / "version_0")["global_step"] == 5
