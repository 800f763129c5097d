"""Flow histograms, the reference for motion that needs no learning."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vjepa.evaluation.probes.histogram_features import FlowHistogramFeatures, optical_flow


def texture(size: int = 64, seed: int = 0) -> Tensor:  # (size, size), smooth enough to be followed
    noise = torch.rand(1, 1, size // 8, size // 8, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, size=size, mode="bicubic").clamp(0, 1)[0, 0] * 200 + 20


def moving(across: int, down: int, num_frames: int = 4, scale: float = 1.0) -> Tensor:  # (1, 3, T, 64, 64) uint8
    picture = texture()
    frames = [picture.roll((down * number, across * number), (0, 1)) * scale for number in range(num_frames)]
    return torch.stack(frames).round().to(torch.uint8).expand(1, 3, -1, -1, -1).contiguous()


def directions(clips: Tensor, **settings) -> Tensor:  # (angles,), the middle of the frame over the whole clip
    features = FlowHistogramFeatures(**settings)
    cells = features(clips).unflatten(2, (features.num_angles, features.side, features.side))
    return cells[0, ..., 2:-2, 2:-2].square().sum((0, 2, 3))


def test_flow_is_in_pixels_to_the_right_and_downwards():
    middle = optical_flow(moving(across=2, down=-1))[0, :, 16:-16, 16:-16]
    torch.testing.assert_close(middle.mean((0, 1, 2)), torch.tensor([2.0, -1.0]), atol=0.1, rtol=0)


@pytest.mark.parametrize(
    ("motion", "number"), [((2, 0), 0), ((2, 2), 1), ((0, 2), 2), ((-2, 0), 4), ((0, -2), 6)], ids=str
)
def test_a_motion_fills_the_bin_of_its_direction(motion, number):
    histogram = directions(moving(*motion))
    assert histogram.argmax() == number
    assert histogram[number] > 0.7 * histogram.sum()


def test_a_token_is_a_part_of_the_time_and_pooled_features_are_all_of_them():
    turning = torch.cat([moving(2, 0), moving(0, 2)], dim=2)  # right, then down
    features = FlowHistogramFeatures(side=4, num_angles=8, num_parts=2)
    tokens = features(turning)
    assert tokens.shape == (1, 2, 8 * 4 * 4)
    assert tokens[0].unflatten(1, (8, 16)).square().sum(-1).argmax(-1).tolist() == [0, 2]
    torch.testing.assert_close(features.pool(tokens), tokens.flatten(1))
    torch.testing.assert_close(tokens.square().norm(), torch.tensor(1.0))


def test_speed_and_contrast_of_the_whole_clip_hardly_change_them():
    features = FlowHistogramFeatures(side=2)
    slow = features(moving(1, 0))
    for other in (moving(2, 0), moving(1, 0, scale=0.6)):
        assert F.cosine_similarity(features(other).flatten(), slow.flatten(), dim=0) > 0.9
    assert F.cosine_similarity(features(moving(-1, 0)).flatten(), slow.flatten(), dim=0) < 0.6


def test_a_flat_clip_has_none_and_any_frame_size_gives_the_same_width():
    assert not FlowHistogramFeatures()(torch.full((1, 3, 4, 64, 64), 9, dtype=torch.uint8)).any()
    wide = torch.randint(0, 256, (2, 3, 2, 20, 36), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert FlowHistogramFeatures()(wide).shape == (2, 3, 8 * 64)


def test_a_single_frame_is_refused():
    with pytest.raises(ValueError, match="clips of 1 frame have no optical flow; give num_frames of at least 2"):
        FlowHistogramFeatures()(moving(1, 0, num_frames=1))
