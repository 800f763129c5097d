"""Objects without labels: a block of tokens of another kind is found, whatever the sign of its features."""

import pytest
import torch

from vjepa.evaluation.dense.foreground import at_border, cluster_foreground, component_foreground
from vjepa.evaluation.dense.mask_scores import region_similarity


def a_block(sign: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps (3, 8, 8, 6) with a block of 3 x 3 tokens that moves, and where it is."""
    maps = 0.1 * torch.randn(3, 8, 8, 6, generator=torch.Generator().manual_seed(0))
    where = torch.zeros(3, 8, 8, dtype=torch.bool)
    for frame in range(3):
        where[frame, 2:5, 2 + frame : 5 + frame] = True
    maps[where] += sign * torch.tensor([1.0, -1.0, 0.5, 0.0, 0.0, 2.0])
    return maps, where


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("method", [component_foreground, lambda maps: cluster_foreground(maps, 2), cluster_foreground])
def test_a_block_of_other_tokens_is_foreground(method, sign: float):
    maps, where = a_block(sign)
    found = method(maps) > 0
    assert region_similarity(found.numpy(), where.numpy()) > 0.95


def test_the_threshold_parts_a_small_object_from_a_large_ground():
    """Zero would not: the mean is near the ground, whose spread passes it."""
    maps, where = a_block(1.0)
    kind = maps[where].mean(0) / maps[where].mean(0).norm()
    maps[~where] += 0.25 * torch.randn(int((~where).sum()), 1, generator=torch.Generator().manual_seed(1)) * kind
    assert region_similarity((component_foreground(maps) > 0).numpy(), where.numpy()) > 0.95
    by_mean = (maps - maps.mean((0, 1, 2))) @ kind > 0
    assert region_similarity(by_mean.numpy(), where.numpy()) < 0.8


def test_identical_features_part_nothing():
    maps = torch.ones(2, 6, 6, 8)
    assert not (component_foreground(maps) > 0).any()
    assert not (cluster_foreground(maps, 2) > 0).any()


def test_clusters_do_not_depend_on_what_was_drawn_before():
    maps = torch.randn(2, 6, 6, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(cluster_foreground(maps), cluster_foreground(maps))


def test_the_border_is_the_outermost_tokens():
    border = at_border(torch.zeros(1, 4, 5, 1))
    assert border.sum() == 14 and not border[1:3, 1:4].any()
