"""Networks of a run before training are drawn by the run's own seed, and by nothing else."""

import os
from pathlib import Path

import pytest
import torch

from vjepa.interop.run_folder import PretrainedRun, RunSettings, newest_run
from vjepa.models import Predictor, VideoEncoder

ENCODER = {"embed_dim": 24, "depth": 1, "num_heads": 2, "tubelet": (2, 8, 8)}
PREDICTOR = {"encoder_dim": 24, "embed_dim": 24, "depth": 1, "num_heads": 2, "zero_init_mask_tokens": False}


def run(predictor: dict | None = PREDICTOR) -> PretrainedRun:
    return PretrainedRun(Path("last.ckpt"), {}, RunSettings(ENCODER, predictor, {}, seed=7), step=3)


def equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    weights = other.state_dict()
    return all(torch.equal(tensor, weights[name]) for name, tensor in one.state_dict().items())


def test_untrained_networks_are_those_of_the_run_s_seed_and_leave_the_generator_alone():
    torch.manual_seed(7)
    encoder, predictor = VideoEncoder(**ENCODER), Predictor(**PREDICTOR)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    ours = run().untrained_networks()
    assert equal(ours[0], encoder) and equal(ours[1], predictor)
    assert equal(run(predictor=None).untrained_encoder(), encoder)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_run_without_a_predictor_says_so():
    with pytest.raises(ValueError, match=r"last.ckpt has no predictor; give a run of JEPA"):
        run(predictor=None).untrained_networks()


def test_a_predictor_of_pixels_does_not_tell_the_future():
    run().require_predictor()
    with pytest.raises(ValueError, match=r"the predictor of last.ckpt predicts pixels or a teacher's tokens"):
        run(predictor=PREDICTOR | {"target_dim": 384}).require_predictor()


def write_runs(runs: Path, names: tuple[str, ...], without: str = "") -> None:
    """Folders of runs from the oldest to the newest, one of them without a checkpoint."""
    for number, name in enumerate(names):
        folder = runs / name
        (folder / "checkpoints").mkdir(parents=True)
        for file in (folder / "config.yaml", folder / "checkpoints" / "last.ckpt"):
            if name != without or file.suffix == ".yaml":
                file.write_text("")
                os.utime(file, (number, number))


def named(*fitting: str):
    """Opens checkpoints of these runs."""

    def opened(checkpoint: Path) -> str:
        name = checkpoint.parents[2].name
        if name not in fitting:
            raise ValueError(f"{name} is another kind of run")
        return name

    return opened


def test_the_newest_run_that_fits_is_taken_and_those_that_do_not_are_named(tmp_path, capsys):
    write_runs(tmp_path, ("a/version_0", "b/version_0", "c/version_0", "d/version_0"), without="d/version_0")
    assert newest_run(tmp_path, named("a", "b"), "to probe", "pretrain") == "b"
    assert capsys.readouterr().out == (
        f"the newest run to probe is {tmp_path}/b/version_0; skipped {tmp_path}/d/version_0 (it has no checkpoint); "
        f"skipped {tmp_path}/c/version_0 (c is another kind of run)\n"
    )
    assert newest_run(tmp_path, named("c", "d"), "to probe", "pretrain") == "c"
    capsys.readouterr()
    with pytest.raises(ValueError) as refusal:
        newest_run(tmp_path, named(), "to probe", "pretrain")
    assert "to probe; start one (`make pretrain`), or give --checkpoint; skipped" in str(refusal.value)
    assert str(refusal.value).count("is another kind of run") == 3


def test_nothing_is_said_where_the_newest_run_fits(tmp_path, capsys):
    write_runs(tmp_path, ("a/version_0", "b/version_0"))
    assert newest_run(tmp_path, named("a", "b"), "to probe", "pretrain") == "b"
    assert capsys.readouterr().out == ""
