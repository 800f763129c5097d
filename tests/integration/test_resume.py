"""Law 1: a resumed run is the unbroken run."""

import json
import signal

import pytest
import torch

from tests.integration.runs import checkpoint, logged, vjepa
from vjepa.cli.main import main

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

    assert_equal_runs(runs / "killed" / "version_0", runs / "unbroken" / "version_0")


def assert_equal_runs(our_run, their_run):
    ours, theirs = checkpoint(our_run), checkpoint(their_run)
    assert ours["global_step"] == theirs["global_step"] == 20
    assert ours["ClipDataModule"] == theirs["ClipDataModule"]
    for name, tensor in theirs["state_dict"].items():
        assert torch.equal(ours["state_dict"][name], tensor), name
    ours_moments, theirs_moments = (run["optimizer_states"][0]["state"] for run in (ours, theirs))
    for number, state in theirs_moments.items():
        assert all(torch.equal(ours_moments[number][key], value) for key, value in state.items())
    losses = logged(our_run, "train/loss")
    assert losses == logged(their_run, "train/loss")
    assert len(losses) == 20


def signalled(*each: dict, **settings) -> str:
    callbacks = [{"class_path": "tests.integration.kill.SignalOnce", "init_args": one} for one in each or [settings]]
    return f"--trainer.callbacks={json.dumps(callbacks)}"


def stopped(capsys, *arguments: object) -> tuple[object, str]:
    """Exit code and words of a run that a signal ends."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    said = capsys.readouterr()
    return ended.value.code, said.out + said.err


@pytest.mark.parametrize(
    ("when", "code", "step"),
    [
        ({"name": "SIGINT"}, 130, 6),
        ({"name": "SIGUSR1"}, 138, 6),
        ({"hook": "on_save_checkpoint", "step": 10}, 143, 10),  # while it is being written
        ({"hook": "on_validation_batch_start", "step": 8}, 143, 8),  # two batches of validation every four steps
        ({"hook": "on_validation_end", "step": 8}, 143, 9),
        ({"hook": "on_train_end", "step": 20}, 143, 20),
    ],
)
def test_a_signal_saves_a_checkpoint_from_which_the_run_goes_on_bit_for_bit(tiny_recipe, capsys, when, code, step):
    arguments = ["fit", "-c", tiny_recipe, "--name=a", *COMMON]
    found, said = stopped(capsys, *arguments, signalled(**when))
    run = tiny_recipe.parent / "runs" / "a" / "version_0"
    assert found == code
    assert checkpoint(run)["global_step"] == step
    assert f"at step {step}: {run}/checkpoints/last.ckpt" in said
    command = said.split("Go on with:\n  vjepa ")[1].splitlines()[0]
    main([*command.split(), "--trainer.callbacks=null"])
    main(["fit", "-c", str(tiny_recipe), "--name=unbroken"])
    assert_equal_runs(run, run.parents[1] / "unbroken" / "version_0")


@pytest.mark.parametrize(
    ("when", "code"),
    [
        ({"hook": "setup"}, 143),
        ({"hook": "on_validation_batch_start", "name": "SIGINT"}, 130),  # of the sanity check
        ({"hook": "on_train_start"}, 143),
        ({"hook": "on_train_batch_start", "name": "SIGINT"}, 130),
    ],
)
def test_a_signal_before_the_first_step_ends_at_once_and_says_that_nothing_was_saved(tiny_recipe, capsys, when, code):
    flags = [signalled(step=0, **when), "--trainer.num_sanity_val_steps=1"]
    found, said = stopped(capsys, "fit", "-c", tiny_recipe, "--name=a", *flags)
    assert found == code
    assert "; there is nothing to save" in said
    assert not list((tiny_recipe.parent / "runs").rglob("*.ckpt"))


def test_a_second_ctrl_c_ends_at_once(tiny_recipe, capsys):
    found, said = stopped(capsys, "fit", "-c", tiny_recipe, "--name=a", signalled(name="SIGINT", times=2))
    assert found == 130
    assert "stopped at once by a second Ctrl-C" in said
    assert not list((tiny_recipe.parent / "runs").rglob("*.ckpt"))


@pytest.mark.parametrize(("name", "codes"), [("SIGTERM", (143, -15)), ("SIGUSR1", (138, 143, -15))])
def test_a_signal_to_one_rank_stops_both_after_the_same_step(tiny_recipe, name, codes):
    ddp = ("--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.max_steps=200")
    run = vjepa("fit", "-c", tiny_recipe, "--name=a", *ddp, signalled(name=name, rank=1), ranks=2)
    assert run.returncode in codes, run.stderr  # the launcher ends the rank that takes longer to exit
    assert checkpoint(tiny_recipe.parent / "runs" / "a" / "version_0")["global_step"] == 6
    assert run.stdout.count(f"Stopped by {name} at step 6") == 1 and "Traceback" not in run.stderr


def test_gradients_that_are_being_accumulated_are_stepped_with_before_a_signal_saves(tiny_recipe, capsys):
    flags = ["--trainer.accumulate_grad_batches=2", signalled(step=3)]
    assert stopped(capsys, "fit", "-c", tiny_recipe, "--name=a", *flags)[0] == 143
    assert checkpoint(tiny_recipe.parent / "runs" / "a" / "version_0")["global_step"] == 4


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A job of SLURM, and the file of what is asked of its `scontrol`."""
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho $@ >> $(dirname $0)/asked\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for name, value in (("JOB_ID", 7), ("NTASKS", 1), ("PROCID", 0), ("LOCALID", 0), ("NODEID", 0)):
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    return tmp_path / "asked"


def test_a_requeue_signal_of_slurm_saves_at_the_end_of_the_step_and_the_requeued_job_goes_on(
    tiny_recipe, slurm, monkeypatch, capsys
):
    arguments = ["fit", "-c", str(tiny_recipe), "--data.num_workers=1", "--name=a"]
    found, said = stopped(capsys, *arguments, "--checkpoint.asynchronous=true", signalled(name="SIGUSR1", times=2))
    run = tiny_recipe.parent / "runs" / "a" / "job_7"
    assert found == 138 and "job 7 is requeued" in said
    assert slurm.read_text() == "requeue 7\n"
    assert [file.name for file in run.rglob("*.ckpt")] == ["last.ckpt"]
    assert checkpoint(run)["global_step"] == 6
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    main(arguments)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "0")
    main([*arguments[:-1], "--name=unbroken"])
    assert_equal_runs(run, run.parents[1] / "unbroken" / "job_7")


@pytest.mark.parametrize("hook", ["setup", "on_train_start"])
def test_a_requeue_signal_before_the_first_step_requeues_too(tiny_recipe, slurm, monkeypatch, capsys, hook):
    for name, value in (("JOB_ID", 5), ("TASK_ID", 3)):
        monkeypatch.setenv(f"SLURM_ARRAY_{name}", str(value))
    flag = signalled(name="SIGUSR1", hook=hook, step=0)
    assert stopped(capsys, "fit", "-c", tiny_recipe, "--name=a", flag)[0] == 138
    assert slurm.read_text() == "requeue 5_3\n"


def test_who_requeues_by_other_means_or_has_no_scontrol_is_left_alone(tiny_recipe, slurm, monkeypatch, capsys):
    arguments = ["fit", "-c", tiny_recipe, "--name=a", signalled(name="SIGUSR1")]
    environment = "lightning.pytorch.plugins.environments.SLURMEnvironment"
    own = [{"class_path": environment, "init_args": {"auto_requeue": False}}]
    assert stopped(capsys, *arguments, f"--trainer.plugins={json.dumps(own)}")[0] == 138
    assert not slurm.exists()
    slurm.with_name("scontrol").write_text("#!/bin/sh\nexit 4\n")
    found, said = stopped(capsys, *arguments)
    assert found == 138 and "job 7 could not be requeued (exit code 4); submit it again" in said


def test_a_spoilt_last_checkpoint_is_skipped_and_the_run_ends_as_the_unbroken_one(tiny_recipe, capsys):
    arguments = ["fit", "-c", str(tiny_recipe), "--name=a", "--checkpoint.every_n_steps=5"]
    main(arguments)
    run = tiny_recipe.parent / "runs" / "a" / "version_0"
    folder, whole = run / "checkpoints", checkpoint(run)
    assert whole["origin"]["vjepa"] and whole["origin"]["settings"] and whole["origin"]["data"]
    spoilt = bytearray((folder / "last.ckpt").read_bytes())
    for part in (2, 3, 4):  # at least one is no padding between tensors
        spoilt[len(spoilt) // part] ^= 4
    (folder / "last.ckpt").write_bytes(spoilt)
    capsys.readouterr()
    main([*arguments, "--ckpt_path=last"])
    said = capsys.readouterr().err
    assert "skipped the checkpoint" in said and "last.ckpt: its part" in said
    assert "goes on from step 15, written by vjepa" in said
    for name, tensor in whole["state_dict"].items():
        assert torch.equal(checkpoint(run)["state_dict"][name], tensor), name
    for file in folder.glob("*.ckpt"):
        file.write_bytes(b"")
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--ckpt_path=last"])
    assert ended.value.code == 2
    assert "there is no whole checkpoint in" in capsys.readouterr().err
