"""Bars on the cost of a training step at the size of a published recipe, counted on the meta device."""

import pytest
import torch
from torch import nn

from vjepa.models import Predictor, VideoEncoder
from vjepa.training import JEPA
from vjepa.training.cost.step_cost import OperationCount, flops_of_step, meta_batch, operations_of_step

# 24 clips of 16 x 256 x 256, and the tokens of a usual batch of the released masks.
BATCH = (24, (16, 256, 256), ((504, 968), (136, 1440)))
RELEASED_FLOPS = 3.63e12  # per clip, of the released modules by the same counter


@pytest.fixture(scope="module")
def vit_large() -> JEPA:
    with torch.device("meta"):
        encoder = VideoEncoder(size="large", position="rotary_tiled")
        return JEPA(encoder, Predictor(encoder_dim=1024, position="rotary_tiled"))


def test_operations_are_counted_by_name_and_views_are_not():
    layer, x = nn.Linear(3, 4), torch.ones(2, 3)
    with OperationCount() as count:
        (layer(x).view(8) + 1).sum()
    assert count.by_name == {"aten.addmm": 1, "aten.add": 1, "aten.sum": 1}


def test_a_step_of_vit_large_takes_3000_operations_at_most(vit_large):
    operations = operations_of_step(vit_large, meta_batch(*BATCH))
    assert operations.total() <= 3000
    assert not operations["aten.flip"]  # the pairs of the rotation are not copied


def test_a_step_of_vit_large_takes_fewer_flops_than_the_released_one(vit_large):
    assert flops_of_step(vit_large, meta_batch(*BATCH)) / BATCH[0] <= 0.98 * RELEASED_FLOPS
