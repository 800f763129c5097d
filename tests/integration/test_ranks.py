"""Two ranks train as one does at the same global batch."""

import pytest
import torch

from tests.integration.runs import checkpoint, logged, vjepa

pytestmark = pytest.mark.slow

DDP = ("--trainer.devices=2", "--trainer.strategy=ddp")


def test_two_gloo_ranks_equal_one_rank(tiny_recipe):
    """Lightning starts the second rank; `test_sharding.py` has torchrun's, with terms that compare a whole batch."""
    runs = tiny_recipe.parent / "runs"
    one = vjepa("fit", "-c", tiny_recipe, "--name=one", "--trainer.max_steps=8")
    assert one.returncode == 0, one.stderr
    two = vjepa("fit", "-c", tiny_recipe, "--name=two", "--trainer.max_steps=8", *DDP)
    assert two.returncode == 0, two.stderr

    ours, theirs = (checkpoint(runs / name / "version_0") for name in ("two", "one"))
    for name, tensor in theirs["state_dict"].items():
        torch.testing.assert_close(ours["state_dict"][name], tensor, atol=1e-5, rtol=1e-5)
    assert ours["ClipDataModule"] == theirs["ClipDataModule"]
    losses = [logged(runs / name / "version_0", "train/loss") for name in ("two", "one")]
    assert len(losses[0]) == 8
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_a_global_batch_that_ranks_can_not_share_is_refused(tiny_recipe):
    run = vjepa("fit", "-c", tiny_recipe, "--data.global_batch_size=5", *DDP, ranks=2)
    assert run.returncode != 0
    assert "global_batch_size (5) must be a multiple of the number of ranks (2); try 6" in run.stderr
