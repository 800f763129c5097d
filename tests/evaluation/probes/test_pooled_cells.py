"""Pooling in cells: nearest neighbours and linear probes read where in the frame something is."""

import pytest
import torch

from vjepa.evaluation.probes.frozen_features import EncoderFeatures
from vjepa.models import VideoEncoder


def features(pooled_cells: int | None = 2, crop_size: tuple[int, int] | None = (16, 24)) -> EncoderFeatures:
    encoder = VideoEncoder(embed_dim=24, depth=1, num_heads=2, tubelet=(2, 4, 4))
    return EncoderFeatures("encoder", encoder, pooled_cells=pooled_cells, crop_size=crop_size)


def test_a_cell_has_mean_and_standard_deviation_of_its_tokens_over_all_times():
    tokens = torch.randn(2, 3 * 4 * 6, 24, generator=torch.Generator().manual_seed(0))
    found = features().pool(tokens).unflatten(1, (2, 24, 2, 2))  # mean or deviation, feature, cell
    cell = tokens.unflatten(1, (3, 4, 6))[:, :, 2:, :3].flatten(1, 3)  # below, left
    torch.testing.assert_close(found[:, 0, :, 1, 0], cell.mean(1))
    torch.testing.assert_close(found[:, 1, :, 1, 0], cell.std(1, correction=0))


def test_without_cells_the_mean_token_is_read():
    tokens = torch.randn(2, 72, 24)
    torch.testing.assert_close(features(None).pool(tokens), tokens.mean(1))


@pytest.mark.parametrize(("cells", "crop_size"), [(0, (16, 24)), (5, (16, 24)), (2, None)])
def test_cells_that_do_not_fit_are_refused(cells, crop_size):
    with pytest.raises(ValueError, match=rf"pooled_cells \({cells}\) must be from 1 to the tokens along a side"):
        features(cells, crop_size)
