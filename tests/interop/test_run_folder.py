"""Networks of a run before training are drawn by the run's own seed, and by nothing else."""

from pathlib import Path

import pytest
import torch

from vjepa.interop.run_folder import PretrainedRun, RunSettings
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
