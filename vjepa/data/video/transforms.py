"""Crops, resizes and flips in uint8, the same for all frames of a clip. Sizes are (height, width)."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8


class CropBox(NamedTuple):
    top: int
    left: int
    height: int
    width: int


def random_crop_box(
    frame_size: tuple[int, int],
    scale: tuple[float, float],  # range of the fraction of the frame's area
    aspect_ratio: tuple[float, float],  # range of width over height, drawn on a log scale
    generator: np.random.Generator,
) -> CropBox:
    """A box of random area, shape and position; after 10 that do not fit, the largest central one (arXiv 1409.4842)."""
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


def central_crop_box(frame_size: tuple[int, int], aspect_ratio: tuple[float, float]) -> CropBox:
    """The largest central box whose width over height is in a range."""
    frame_height, frame_width = frame_size
    ratio = float(np.clip(frame_width / frame_height, *aspect_ratio))
    height = min(frame_height, max(1, round(frame_width / ratio)))
    width = min(frame_width, max(1, round(frame_height * ratio)))
    return CropBox((frame_height - height) // 2, (frame_width - width) // 2, height, width)


def view_boxes(frame_size: tuple[int, int], aspect_ratio: float, num_views: int) -> list[CropBox]:
    """The largest boxes of this shape, spread evenly along the frame's longer side; a single one is central."""
    frame_height, frame_width = frame_size
    _, _, height, width = central_crop_box(frame_size, (aspect_ratio, aspect_ratio))
    positions = [0.5] if num_views == 1 else np.linspace(0, 1, num_views).tolist()
    return [CropBox(int(p * (frame_height - height)), int(p * (frame_width - width)), height, width) for p in positions]


def crop_resize(
    frames: UInt8[np.ndarray, "T H W 3"],
    box: CropBox | None,  # the whole frame if None
    size: tuple[int, int] | None,  # that of the box if None
) -> UInt8[np.ndarray, "T h w 3"]:
    """Bilinear, as in the released recipes; one resize per frame straight from the decoded pixels."""
    if box is not None:
        frames = frames[:, box.top : box.top + box.height, box.left : box.left + box.width]
    if size is None or frames.shape[1:3] == size:
        return frames
    resized = np.empty((len(frames), *size, 3), np.uint8)
    for frame, into in zip(frames, resized, strict=True):
        cv2.resize(frame, size[::-1], dst=into, interpolation=cv2.INTER_LINEAR)
    return resized


def channels_first(frames: UInt8[np.ndarray, "T H W 3"], flip: bool = False) -> UInt8[np.ndarray, "3 T H W"]:
    """A contiguous copy in the models' layout, mirrored if asked. (A view would send all frames between processes.)"""
    num_frames, height, width, channels = frames.shape
    planes = np.empty((channels, num_frames, height, width), np.uint8)
    for number, frame in enumerate(frames):  # some five times faster than a transposed copy
        cv2.split(cv2.flip(frame, 1) if flip else frame, list(planes[:, number]))
    return planes
