"""Checkpoints are whole or refused, and a run finds its newest whole one."""

from pathlib import Path

import pytest
import torch

from vjepa.interop.loading import fault_of, read_run_checkpoint
from vjepa.training.checkpoint import checkpoints_of, newest_whole


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
