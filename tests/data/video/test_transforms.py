"""Crops fit the frame, views cover it, and what is done to one frame of a clip is done to all."""

import numpy as np
import pytest

from vjepa.data.video.transforms import (
    CropBox,
    central_crop_box,
    channels_first,
    crop_resize,
    random_crop_box,
    view_boxes,
)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_random_crops_fit_and_keep_their_range():
    generator = np.random.default_rng(0)
    for _ in range(200):
        box = random_crop_box((120, 160), (0.3, 1.0), (0.75, 1.35), generator)
        assert 0 <= box.top <= 120 - box.height and 0 <= box.left <= 160 - box.width
        assert 0.28 < box.height * box.width / (120 * 160) <= 1.0
        assert 0.7 < box.width / box.height < 1.4


def test_random_crops_follow_from_the_generator():
    boxes = [random_crop_box((120, 160), (0.3, 1.0), (0.75, 1.35), np.random.default_rng(k)) for k in (0, 0, 1)]
    assert boxes[0] == boxes[1] != boxes[2]


def test_a_crop_that_never_fits_falls_back_to_the_middle():
    box = random_crop_box((100, 10), (0.9, 1.0), (1.0, 1.0), np.random.default_rng(0))
    assert box == central_crop_box((100, 10), (1.0, 1.0)) == (45, 0, 10, 10)


@pytest.mark.parametrize("frame_size", [(120, 160), (160, 120), (100, 100), (7, 500), (1, 1)])
def test_the_central_crop_is_the_largest_of_an_allowed_shape(frame_size):
    box = central_crop_box(frame_size, (0.75, 1.35))
    height, width = frame_size
    assert box.height == height or box.width == width
    assert abs(box.top - (height - box.height) / 2) <= 0.5 and abs(box.left - (width - box.width) / 2) <= 0.5
    if 0.75 <= width / height <= 1.35:
        assert box == (0, 0, height, width)


@pytest.mark.parametrize("num_views", [2, 3, 4, 5])
@pytest.mark.parametrize("aspect_ratio", [1.0, 1.5, 0.5])
@pytest.mark.parametrize("frame_size", [(120, 400), (400, 120)])
def test_views_cover_the_long_side_evenly(frame_size, aspect_ratio, num_views):
    boxes = view_boxes(frame_size, aspect_ratio, num_views)
    assert len(boxes) == num_views and len({box[2:] for box in boxes}) == 1
    long = int(frame_size[1] > frame_size[0])  # 0: rows, 1: columns
    starts, length = [box[long] for box in boxes], boxes[0][2 + long]
    assert starts[0] == 0 and starts[-1] + length == frame_size[long]
    assert np.ptp(np.diff(starts)) <= 1
    assert all(box[1 - long] == 0 and box[3 - long] == frame_size[1 - long] for box in boxes)
    assert abs(boxes[0].width / boxes[0].height - aspect_ratio) < 0.02


@pytest.mark.parametrize("num_views", [1, 3, 5])
@pytest.mark.parametrize("frame_size", [(32, 75), (75, 32), (32, 32)])
@pytest.mark.parametrize("aspect_ratio", [1.0, 1.5])
def test_the_middle_one_of_the_views_is_the_central_crop(frame_size, aspect_ratio, num_views):
    boxes = view_boxes(frame_size, aspect_ratio, num_views)
    central = central_crop_box(frame_size, (aspect_ratio, aspect_ratio))
    middle = boxes[num_views // 2]
    assert middle[2:] == central[2:]
    assert abs(middle.top - central.top) <= 1 and abs(middle.left - central.left) <= 1  # half a pixel, rounded


def test_views_of_a_frame_of_their_own_shape_are_all_of_it():
    assert view_boxes((40, 60), 1.5, 3) == [CropBox(0, 0, 40, 60)] * 3


def test_crop_and_resize_are_the_same_for_all_frames():
    frames = np.repeat(noise(1, 20, 30, 3), 3, axis=0)
    for size in ((8, 8), (16, 24), (40, 10)):
        cut = crop_resize(frames, CropBox(2, 3, 12, 14), size)
        assert cut.shape == (3, *size, 3) and cut.dtype == np.uint8
        assert (cut == cut[:1]).all()


def test_a_crop_takes_the_box_and_a_resize_keeps_places():
    frames = noise(2, 20, 30, 3)
    box = CropBox(4, 6, 8, 10)
    assert (crop_resize(frames, box, None) == frames[:, 4:12, 6:16]).all()
    assert (crop_resize(frames, box, (8, 10)) == frames[:, 4:12, 6:16]).all()
    assert crop_resize(frames, None, None) is frames
    halves = np.zeros((1, 20, 30, 3), np.uint8)
    halves[:, :, 15:] = 200  # the right half: a size of height and width exchanged would not keep it
    small = crop_resize(halves, None, (10, 6))
    assert (small[0, :, :3] == 0).all() and (small[0, :, 3:] == 200).all()


def test_channels_come_first_in_memory_of_their_own():
    frames = noise(4, 6, 8, 3)
    for source in (frames, frames[::2, 1:4, 2:7]):
        for flip in (False, True):
            clip = channels_first(source, flip)
            assert clip.shape == (3, len(source), *source.shape[1:3]) and clip.dtype == np.uint8
            assert clip.flags.c_contiguous and not np.shares_memory(clip, frames)
    assert all((channels_first(frames)[c, t] == frames[t, :, :, c]).all() for c in range(3) for t in range(4))


def test_a_flip_mirrors_left_and_right_of_every_frame():
    frames = noise(3, 6, 8, 3)
    assert (channels_first(frames, flip=True) == channels_first(frames)[:, :, :, ::-1]).all()
