"""Crop, resize and flip in uint8, the same for all frames of a clip. Floats come later, on the device."""

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


def crop_resize_flip(
    frames: np.ndarray,  # (T, H, W, 3) uint8
    box: CropBox,
    size: tuple[int, int],  # height, width
    flip: bool,
) -> np.ndarray:  # (3, T, height, width) uint8
    """Bilinear, as in the released recipes; one resize per frame straight from the decoded pixels."""
    cut = frames[:, box.top : box.top + box.height, box.left : box.left + box.width]
    if cut.shape[1:3] != size:
        cut = np.stack([cv2.resize(frame, size[::-1], interpolation=cv2.INTER_LINEAR) for frame in cut])
    if flip:
        cut = cut[:, :, ::-1]
    return np.ascontiguousarray(cut.transpose(3, 0, 1, 2))
