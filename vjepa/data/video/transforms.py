"""Crops, resizes and flips in uint8, the same for all frames of a clip. Floats come later, on the device."""

from typing import NamedTuple

import cv2
import numpy as np


class CropBox(NamedTuple):
    top: int
    left: int
    height: int
    width: int


def random_crop_box(
    frame_size: tuple[int, int],  # height, width
    scale: tuple[float, float],  # range of the share of the frame's area
    aspect_ratio: tuple[float, float],  # range of width over height, drawn on a log scale
    generator: np.random.Generator,
) -> CropBox:
    """A box of random area, shape and place; after 10 that do not fit, the largest central one (arXiv 1409.4842)."""
    frame_height, frame_width = frame_size
    for _ in range(10):
        area = frame_height * frame_width * generator.uniform(*scale)
        ratio = np.exp(generator.uniform(*np.log(aspect_ratio)))
        height, width = round((area / ratio) ** 0.5), round((area * ratio) ** 0.5)
        if 0 < height <= frame_height and 0 < width <= frame_width:
            top = int(generator.integers(frame_height - height + 1))
            left = int(generator.integers(frame_width - width + 1))
            return CropBox(top, left, height, width)
    return central_crop_box(frame_size, aspect_ratio)


def central_crop_box(
    frame_size: tuple[int, int],  # height, width
    aspect_ratio: tuple[float, float],  # range of width over height that the box must keep
) -> CropBox:
    """The largest box in the middle of the frame whose shape is allowed."""
    frame_height, frame_width = frame_size
    ratio = float(np.clip(frame_width / frame_height, *aspect_ratio))
    height = min(frame_height, max(1, round(frame_width / ratio)))
    width = min(frame_width, max(1, round(frame_height * ratio)))
    return CropBox((frame_height - height) // 2, (frame_width - width) // 2, height, width)


def view_boxes(
    frame_size: tuple[int, int],  # height, width
    aspect_ratio: float,  # width over height of a view
    num_views: int,
) -> list[CropBox]:
    """Boxes for evaluation: as large as fits, spread evenly along the side that is left over; one is in the middle."""
    frame_height, frame_width = frame_size
    _, _, height, width = central_crop_box(frame_size, (aspect_ratio, aspect_ratio))
    places = [0.5] if num_views == 1 else np.linspace(0, 1, num_views).tolist()
    return [
        CropBox(int(place * (frame_height - height)), int(place * (frame_width - width)), height, width)
        for place in places
    ]


def crop_resize(
    frames: np.ndarray,  # (T, H, W, 3) uint8
    box: CropBox | None,  # all of the frame if None
    size: tuple[int, int] | None,  # height, width; the box's own if None
) -> np.ndarray:  # (T, height, width, 3) uint8
    """Bilinear, as in the released recipes; one resize per frame straight from the decoded pixels."""
    if box is not None:
        frames = frames[:, box.top : box.top + box.height, box.left : box.left + box.width]
    if size is None or frames.shape[1:3] == size:
        return frames
    resized = np.empty((len(frames), *size, 3), np.uint8)
    for frame, into in zip(frames, resized, strict=True):
        cv2.resize(frame, size[::-1], dst=into, interpolation=cv2.INTER_LINEAR)
    return resized


def channels_first(
    frames: np.ndarray,  # (T, H, W, 3)
    flip: bool = False,
) -> np.ndarray:  # (3, T, H, W), contiguous: a view would send the whole file's frames between processes
    """The layout that models take, mirrored where asked."""
    num_frames, height, width, channels = frames.shape
    planes = np.empty((channels, num_frames, height, width), np.uint8)
    for number, frame in enumerate(frames):  # OpenCV takes pixels apart some five times faster than a transposed copy
        cv2.split(cv2.flip(frame, 1) if flip else frame, list(planes[:, number]))
    return planes
