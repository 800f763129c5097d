"""Maps of single frames: windows against whole passes and against the definition, baselines, image models."""

import pytest
import torch

from vjepa.data.clips.batch import normalize_clips
from vjepa.evaluation.dense.frame_maps import (
    Windows,
    colour_and_position,
    encoder_maps,
    identical_features,
    image_model_maps,
    upsampled,
)
from vjepa.evaluation.probes.image_features import ImageBackboneFeatures
from vjepa.models import VideoEncoder

CPU = torch.device("cpu")


def drawn_frames(count: int, size: tuple[int, int] = (16, 24), seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def small_encoder(**settings) -> VideoEncoder:
    torch.manual_seed(0)
    return VideoEncoder(embed_dim=12, depth=2, num_heads=1, tubelet=(2, 8, 8), **settings).eval()


def whole_pass(encoder: VideoEncoder, frames: torch.Tensor) -> torch.Tensor:  # (T / 2, h, w, D)
    clip = frames.transpose(0, 1)[None]
    return encoder(normalize_clips(clip))[0].unflatten(0, encoder.grid_of(clip)).detach()


def test_windows_that_do_not_overlap_are_whole_passes():
    encoder, frames = small_encoder(), drawn_frames(8)
    maps = encoder_maps(encoder, Windows(4, stride=4), CPU, None, frames)
    passes = torch.cat([whole_pass(encoder, frames[:4]), whole_pass(encoder, frames[4:])])
    assert maps.shape == (8, 2, 3, 12)
    torch.testing.assert_close(maps, passes.repeat_interleave(2, dim=0))
    one = encoder_maps(encoder, Windows(8), CPU, None, frames)
    torch.testing.assert_close(one, whole_pass(encoder, frames).repeat_interleave(2, dim=0))


def test_a_map_is_the_mean_of_all_tokens_that_cover_its_frame():
    encoder, frames = small_encoder(), drawn_frames(6)
    maps = encoder_maps(encoder, Windows(4, stride=1), CPU, None, frames)
    passes = {start: whole_pass(encoder, frames[start : start + 4]) for start in (0, 1, 2)}
    for frame in range(6):
        covering = [tokens[(frame - start) // 2] for start, tokens in passes.items() if start <= frame < start + 4]
        torch.testing.assert_close(maps[frame], torch.stack(covering).mean(0))
    assert not torch.allclose(maps[2], maps[3])


def test_the_default_stride_gives_each_frame_a_map_of_its_own():
    maps = encoder_maps(small_encoder(), Windows(8), CPU, None, drawn_frames(17))
    between = (maps[1:] - maps[:-1]).abs().amax((1, 2, 3))
    # Two frames share a map where they are in the same tubelets: at the ends, which one window covers.
    assert (between[2:-3] > 1e-4).all()


@pytest.mark.parametrize(
    ("windows", "video_frames", "expected"),
    [
        (Windows(4, stride=2), 7, [[0, 1, 2, 3], [2, 3, 4, 5], [3, 4, 5, 6]]),
        (Windows(4, frame_step=2, stride=2), 9, [[0, 2, 4, 6], [2, 4, 6, 8], [1, 3, 5, 7]]),
        (Windows(16), 5, [[0, 1, 2, 3], [1, 2, 3, 4]]),
        (Windows(16), 4, [[0, 1, 2, 3]]),
    ],
)
def test_windows_reach_every_frame(windows: Windows, video_frames: int, expected: list[list[int]]):
    assert windows.frame_ids(video_frames, 2).tolist() == expected


def test_the_default_stride_is_odd():
    starts = Windows(16).frame_ids(40, 2)[:, 0]
    assert starts.tolist() == [0, 7, 14, 21, 24]
    assert Windows(8).frame_ids(12, 2)[:, 0].tolist() == [0, 3, 4]


@pytest.mark.parametrize(
    ("windows", "video_frames"), [(Windows(16), 1), (Windows(16, frame_step=2), 3), (Windows(1), 8)]
)
def test_a_video_shorter_than_a_tubelet_is_refused(windows: Windows, video_frames: int):
    with pytest.raises(ValueError, match="is shorter than a tubelet of 2 frames; single frames and images are encoded"):
        windows.frame_ids(video_frames, 2)


def test_single_frames_see_no_other_frame():
    encoder, frames = small_encoder(), drawn_frames(3)
    maps = encoder_maps(encoder, Windows(8, single_frames=True), CPU, None, frames)
    for number in range(3):
        torch.testing.assert_close(maps[number], whole_pass(encoder, frames[[number, number]])[0])
    with_images = small_encoder(image_tokenizer=True)
    maps = encoder_maps(with_images, Windows(8, single_frames=True), CPU, None, frames)
    torch.testing.assert_close(maps[1], whole_pass(with_images, frames[[1]])[0])


def test_levels_are_concatenated():
    encoder, frames = small_encoder(), drawn_frames(4)
    both = encoder_maps(encoder, Windows(4), CPU, [0, 1], frames)
    last = encoder_maps(encoder, Windows(4), CPU, None, frames)
    assert both.shape[-1] == 24 and torch.equal(both[..., 12:], last)


def test_colour_and_position_tell_colours_and_places():
    frames = torch.zeros(2, 3, 16, 24, dtype=torch.uint8)
    frames[:, 0, :8, :8] = 240  # one red token
    maps = colour_and_position((8, 8), frames)
    assert maps.shape == (2, 2, 3, 6)
    red = maps[..., 0] > 0
    assert red[:, 0, 0].all() and red.sum() == 2
    assert (maps[:, 1, :, 3] > maps[:, 0, :, 3]).all() and (maps[:, :, 2, 4] > maps[:, :, 0, 4]).all()
    assert torch.equal(maps[0], maps[1])
    nearest = torch.nn.functional.normalize(maps, dim=-1).flatten(1, 2)
    assert (nearest[0] @ nearest[1].T).argmax(1).tolist() == [0, 1, 2, 3, 4, 5]


def test_identical_features_are_identical():
    maps = identical_features((8, 8), drawn_frames(2))
    assert maps.shape[:3] == (2, 2, 3) and maps.std() == 0


def test_an_image_model_s_tokens_are_by_place_and_without_class_token():
    features = ImageBackboneFeatures("vit_tiny_patch16_224", None)
    frames = drawn_frames(2, (32, 48))
    maps = image_model_maps(features, CPU, frames)
    assert maps.shape == (2, 2, 3, 192)
    tokens = features(frames.transpose(0, 1)[None, :, [0, 0]])  # (1, 1 class token + 6, 192), frame 0
    torch.testing.assert_close(maps[0].flatten(0, 1), tokens[0, 1:])
    convolutions = ImageBackboneFeatures("resnet10t", None)
    assert image_model_maps(convolutions, CPU, drawn_frames(1, (64, 96))).shape == (1, 2, 3, 512)


def test_upsampling_keeps_a_constant_and_the_order_of_places():
    maps = torch.tensor([[[[0.0], [1.0]]]])
    rows = upsampled(maps, (4, 8))
    assert rows.shape == (1, 1, 4, 8) and (rows.diff(dim=-1) >= 0).all() and torch.equal(rows[0, 0, 0], rows[0, 0, 3])
