"""Gradient histograms of one frame, the reference that needs no learning."""

import pytest
import torch
from torch import Tensor

from vjepa.evaluation.probes.histogram_features import GradientHistogramFeatures


def clip_of(frame: Tensor) -> Tensor:  # (H, W), 0 to 255 -> (1, 3, 4, H, W) uint8
    return frame.round().to(torch.uint8).expand(1, 3, 4, *frame.shape).contiguous()


def random_clip(seed: int = 0) -> Tensor:
    return torch.randint(20, 100, (1, 3, 4, 32, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_a_token_is_a_block_of_four_cells_and_pooled_features_are_all_of_them():
    features = GradientHistogramFeatures(cell=8, num_angles=9)
    tokens = features(random_clip())
    assert tokens.shape == (1, 3 * 4, 4 * 9)
    torch.testing.assert_close(tokens.norm(dim=-1), torch.ones(1, 12))
    torch.testing.assert_close(features.pool(tokens), tokens.flatten(1))


@pytest.mark.parametrize(
    ("slope", "shares"),
    [((1.0, 0.0), {0: 1.0}), ((-1.0, 0.0), {0: 1.0}), ((0.0, 1.0), {4: 0.5, 5: 0.5}), ((2.0, 2.0), {2: 0.2, 3: 0.158})],
    ids=["rising to the right", "falling to the right", "rising downwards", "along the diagonal"],
)
def test_a_slope_fills_the_bins_nearest_to_its_angle(slope, shares):
    # 45 degrees are bin 2.25: 0.75 and 0.25, 0.474 and 0.158 of a block's norm, of which the first is clipped to 0.2.
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    frame = 120 + slope[0] * x + slope[1] * y
    middle = GradientHistogramFeatures(cell=4)(clip_of(frame))[0, 12].unflatten(0, (9, 4))  # a block within the frame
    expected = torch.zeros(9, 1)
    for number, share in shares.items():
        expected[number] = share
    direction = middle / middle.norm(dim=0, keepdim=True)
    torch.testing.assert_close(direction, (expected / expected.norm()).expand(9, 4), atol=0.05, rtol=0)


def test_neither_contrast_nor_brightness_nor_a_negative_changes_them():
    features, clips = GradientHistogramFeatures(), random_clip()
    for other in (clips * 2, clips + 50, 255 - clips):
        torch.testing.assert_close(features(other), features(clips), atol=2e-3, rtol=0)
    assert not torch.allclose(features(random_clip(1)), features(clips), atol=0.1)


def test_only_the_middle_frame_counts():
    features, clips = GradientHistogramFeatures(), random_clip()
    others = clips.clone()
    others[:, :, [0, 1, 3]] = 7
    torch.testing.assert_close(features(others), features(clips))


def test_a_frame_without_gradients_has_none():
    flat = torch.full((1, 3, 4, 32, 32), 9, dtype=torch.uint8)
    assert not GradientHistogramFeatures()(flat).any()


def test_frames_smaller_than_a_block_are_refused():
    with pytest.raises(ValueError, match="frames of 15 x 40 pixels have no 2 x 2 cells of 8 pixels"):
        GradientHistogramFeatures()(random_clip()[..., :15, :])
