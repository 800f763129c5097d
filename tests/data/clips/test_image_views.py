"""Views depend on a clip's place in the run alone, and are what they say of size, place and colour."""

import pytest
import torch

from vjepa.data.clips.batch import ClipBatch, normalize_clips
from vjepa.data.clips.image_views import ImageViews

PLAIN = {"flip_probability": 0.0, "color_jitter": 0.0, "grayscale_probability": 0.0}


def batch(positions: list[int], height: int = 16, width: int = 16) -> ClipBatch:
    generator = torch.Generator().manual_seed(0)
    numbers = torch.tensor(positions)
    small = torch.randint(256, (len(positions), 3, 4, height // 4, width // 4), generator=generator, dtype=torch.uint8)
    clips = small.repeat_interleave(4, dim=-1).repeat_interleave(4, dim=-2)
    nothing = torch.zeros_like(numbers)
    return ClipBatch(clips, [], nothing, nothing, nothing, numbers, nothing.float(), [])


def views(**settings) -> ImageViews:
    return ImageViews((16, 16), (8, 8), **settings)


def test_sizes_and_numbers_are_as_asked_for():
    large, small = views(num_large=2, num_small=3)(batch([4, 5, 6]))
    assert large.shape == (2, 3, 3, 1, 16, 16) and small.shape == (3, 3, 3, 1, 8, 8)
    assert views(num_small=0)(batch([4])).small.shape == (0, 1, 3, 1, 8, 8)


def test_a_clip_has_the_same_views_in_any_batch_and_others_at_any_other_place():
    given = batch([7, 7, 8, 8])
    whole, part = views()(given), views()(given._replace(clips=given.clips[2:], positions=given.positions[2:]))
    torch.testing.assert_close(whole.large[:, 2:], part.large)
    torch.testing.assert_close(whole.small[:, 2:], part.small)
    one_clip = given._replace(clips=given.clips[:1].expand(4, -1, -1, -1, -1))
    large = views()(one_clip).large  # clips of one file, clips of two files, another seed
    assert all(not torch.allclose(large[:, 0], large[:, other]) for other in (1, 2, 3))
    assert not torch.allclose(large, views(seed=1)(one_clip).large)


def test_a_crop_of_everything_is_one_of_the_frames():
    given = batch([1, 2, 3, 4, 5, 6])
    square = {"large_scale": (1.0, 1.0), "aspect_ratio": (1.0, 1.0)}
    large = views(**PLAIN, **square, num_large=8, num_small=0)(given).large  # (V, B, 3, 1, H, W)
    gaps = (large - normalize_clips(given.clips)).abs().amax((2, 4, 5))  # (V, B, T)
    assert (gaps.amin(-1) < 1e-5).all()
    assert len(gaps.argmin(-1).unique()) == 4  # each view is of a frame of its own


def test_crops_cover_the_share_that_was_asked_for():
    ramp = torch.arange(64, dtype=torch.uint8).expand(64, 3, 1, 64, 64)
    numbers = torch.arange(64)
    given = batch([0])._replace(clips=ramp.contiguous(), positions=numbers)
    drawn = ImageViews((32, 32), (16, 16), num_large=1, num_small=1, **PLAIN)(given)
    for part, (least, most) in ((drawn.large, (0.4, 1.0)), (drawn.small, (0.05, 0.4))):
        row = part[0, :, 0, 0, 0]  # along the ramp
        step = (row[:, -1] - row[:, 0]) / (part.shape[-1] - 1) * part.shape[-1]
        width = step * 255 * 0.229 / 64  # share of the frame
        assert (width > (least * 3 / 4) ** 0.5 - 0.05).all() and (width < min(1.0, (most * 4 / 3) ** 0.5) + 0.05).all()
        assert width.max() - width.min() > 0.2


def test_flips_and_greys_have_their_shares():
    positions = list(range(400))
    ramp = torch.arange(16, dtype=torch.uint8).expand(400, 3, 1, 16, 16).clone()
    ramp[:, 0] = 0
    given = batch([0])._replace(clips=ramp, positions=torch.tensor(positions))
    large = ImageViews((16, 16), (8, 8), num_large=1, num_small=1, flip_probability=0.3, grayscale_probability=0.2)(
        given
    ).large[0]
    mirrored = large[:, 2, 0, 0, 0] > large[:, 2, 0, 0, -1]
    grey = (large[:, 0] - large[:, 2]).abs().amax((1, 2, 3)) < 1e-6
    assert abs(grey.float().mean() - 0.2) < 0.07
    assert abs(mirrored[~grey].float().mean() - 0.3) < 0.08


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"num_large": 1, "num_small": 0}, r"num_large \(1\) must be at least 1, and at least 2 together"),
        ({"small_scale": (0.4, 0.1)}, r"small_scale \(\[0.4, 0.1\]\) must be a rising range"),
        ({"color_jitter": 1.0}, r"color_jitter \(1.0\) must be from 0 to below 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        views(**settings)
