"""Checkpoints are whole or refused, and a run finds its newest whole one."""

import threading
from pathlib import Path

import pytest
import torch

from vjepa.cli.main import main
from vjepa.interop.loading import fault_of, read_run_checkpoint
from vjepa.training.checkpoint import AsynchronousCheckpointIO, checkpoints_of, newest_whole


def written(file: Path) -> Path:
    torch.save({"state_dict": {"weight": torch.arange(1000.0), "bias": torch.ones(7)}, "global_step": 3}, file)
    return file


def test_a_whole_checkpoint_has_no_fault(tmp_path: Path):
    file = written(tmp_path / "last.ckpt")
    assert fault_of(file) is None
    assert read_run_checkpoint(file)["state_dict"]["weight"].equal(torch.arange(1000.0))


def test_any_flipped_bit_of_a_weight_is_found(tmp_path: Path):
    file = written(tmp_path / "last.ckpt")
    whole = file.read_bytes()
    weight = torch.arange(1000.0).numpy().tobytes()
    start = whole.index(weight)
    for place, bit in ((0, 0), (1, 7), (len(weight) - 1, 3)):
        spoilt = bytearray(whole)
        spoilt[start + place] ^= 1 << bit
        file.write_bytes(spoilt)
        assert "differs from its checksum" in fault_of(file)
        with pytest.raises(
            ValueError, match=r"last.ckpt is spoilt: its part .* differs from its checksum; give another"
        ):
            read_run_checkpoint(file)


@pytest.mark.parametrize(
    ("share", "fault"), [(0, "it is empty"), (0.4, "it was cut short"), (0.99, "it was cut short")]
)
def test_a_file_that_was_cut_short_is_found(tmp_path: Path, share: float, fault: str):
    file = written(tmp_path / "last.ckpt")
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    assert fault_of(file).startswith(fault)


def test_the_newest_whole_one_is_taken_and_others_are_named(tmp_path: Path):
    names = ("step_5.ckpt", "previous_2.ckpt", "last.ckpt", "step_10.ckpt", "previous_1.ckpt", "mine.ckpt")
    for name in names:
        written(tmp_path / name)
    order = [file.name for file in checkpoints_of(tmp_path)]
    assert order == ["last.ckpt", "previous_1.ckpt", "previous_2.ckpt", "step_10.ckpt", "step_5.ckpt"]
    said: list[str] = []
    (tmp_path / "last.ckpt").write_bytes(b"")
    (tmp_path / "previous_1.ckpt").write_bytes(b"PK")
    assert newest_whole(checkpoints_of(tmp_path), said.append) == tmp_path / "previous_2.ckpt"
    assert len(said) == 2 and said[0] == f"skipped the checkpoint {tmp_path / 'last.ckpt'}: it is empty"
    assert newest_whole([tmp_path / "last.ckpt"], said.append) is None


def test_what_changes_after_an_asynchronous_save_is_not_in_the_file(tmp_path: Path, monkeypatch):
    weight, may_write, save = torch.ones(3), threading.Event(), torch.save

    def waits(content, file):
        may_write.wait(10)
        save(content, file)

    monkeypatch.setattr("torch.save", waits)
    writer = AsynchronousCheckpointIO()
    writer.save_checkpoint({"state_dict": {"weight": weight}}, tmp_path / "last.ckpt")
    weight += 1
    assert not (tmp_path / "last.ckpt").exists()
    may_write.set()
    writer.teardown()
    assert read_run_checkpoint(tmp_path / "last.ckpt")["state_dict"]["weight"].equal(torch.ones(3))


def test_the_error_of_a_write_comes_with_the_next_save_or_at_the_end(tmp_path: Path, monkeypatch):
    writer = AsynchronousCheckpointIO()
    writer.save_checkpoint({"step": 1}, tmp_path / "last.ckpt")
    writer.wait()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.save", full)
    writer.save_checkpoint({"step": 2}, tmp_path / "last.ckpt")
    with pytest.raises(OSError, match=r"No space left on device: '.*last.ckpt'"):
        writer.save_checkpoint({"step": 3}, tmp_path / "last.ckpt")
    writer.save_checkpoint({"step": 4}, tmp_path / "last.ckpt")
    with pytest.raises(OSError, match="No space left on device"):
        writer.teardown()
    assert torch.load(tmp_path / "last.ckpt", weights_only=True) == {"step": 1}


@pytest.mark.slow
def test_a_run_that_writes_in_a_thread_leaves_the_same_files(tiny_recipe: Path):
    for name, flag in (("a", "false"), ("b", "true")):
        flags = [f"--checkpoint.asynchronous={flag}", "--checkpoint.every_n_steps=3", "--trainer.max_steps=8"]
        main(["fit", "-c", str(tiny_recipe), f"--name={name}", *flags])
    ours, theirs = (tiny_recipe.parent / "runs" / name / "version_0" / "checkpoints" for name in "ba")
    assert [file.name for file in checkpoints_of(ours)] == ["last.ckpt", "previous_1.ckpt"]
    for file in checkpoints_of(ours):
        mine, other = (read_run_checkpoint(each / file.name) for each in (ours, theirs))
        assert mine["global_step"] == other["global_step"]
        assert all(mine["state_dict"][key].equal(value) for key, value in other["state_dict"].items())
