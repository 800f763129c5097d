"""Augmentation of a clip: RandAugment, random erasing, colour jitter; in uint8, the same for all frames."""

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

import cv2
import numpy as np
from jaxtyping import UInt8

POLICY = r"rand(-(m|n|mstd|mmax|p)\d+(\.\d+)?|-inc[01]|-w\d|-t\d)*"  # the numeric part of timm's syntax
Frames = UInt8[np.ndarray, "T H W 3"]


class RandAugment:
    """timm's RandAugment (arXiv 1909.13719) with one draw for all frames of a clip.

    Args:
        policy: in timm's syntax; the released probes use "rand-m7-n4-mstd0.5-inc1".
    """

    def __init__(self, policy: str):
        from timm.data.auto_augment import rand_augment_transform  # late: it imports torchvision

        if not re.fullmatch(POLICY, policy):
            raise ValueError(f"rand_augment ({policy}) must be a policy such as 'rand-m7-n4-mstd0.5-inc1'")
        grey = tuple(round(255 * mean) for mean in (0.485, 0.456, 0.406))  # fills uncovered borders
        self._transform = rand_augment_transform(policy, {"img_mean": grey})

    def __call__(self, frames: Frames, generator: np.random.Generator) -> Frames:
        from PIL import Image

        seed = int(generator.integers(2**32))
        changed = []
        for frame in frames:
            with _global_generators_seeded(seed):  # timm draws from them: the same for each frame
                changed.append(np.asarray(self._transform(Image.fromarray(frame))))
        return np.stack(changed)


@contextmanager
def _global_generators_seeded(seed: int) -> Iterator[None]:
    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def erase_box(
    frames: Frames,
    generator: np.random.Generator,
    area: tuple[float, float] = (0.02, 1 / 3),  # range of the fraction of the frame
    aspect_ratio: tuple[float, float] = (0.3, 10 / 3),  # range of height over width, on a log scale
) -> Frames:
    """Random erasing (arXiv 1708.04896): the same box of noise in all frames; none if ten draws do not fit."""
    _, height, width, channels = frames.shape
    for _ in range(10):
        box_area = height * width * generator.uniform(*area)
        ratio = np.exp(generator.uniform(*np.log(aspect_ratio)))
        box_height, box_width = round((box_area * ratio) ** 0.5), round((box_area / ratio) ** 0.5)
        if 0 < box_height < height and 0 < box_width < width:
            top = int(generator.integers(height - box_height + 1))
            left = int(generator.integers(width - box_width + 1))
            erased = frames.copy()
            erased[:, top : top + box_height, left : left + box_width] = generator.integers(
                256, size=(box_height, box_width, channels), dtype=np.uint8
            )
            return erased
    return frames


def jitter_colors(frames: Frames, generator: np.random.Generator, strength: float = 1.0) -> Frames:
    """Mix the channels towards grey, scale contrast about mid-grey, and turn half of the clips into negatives.

    Motion is unchanged, but colours no longer identify a clip. `strength` scales the spread of contrast (a factor
    e^N(0, 0.3)) and the fraction of clips with less colour (0.8).
    """
    grayscale_probability = generator.random() * (generator.random() < 0.8 * strength)
    contrast = np.exp(0.3 * strength * generator.standard_normal())
    sign = -1.0 if generator.random() < 0.5 else 1.0
    mixing = sign * contrast * ((1 - grayscale_probability) * np.eye(3) + grayscale_probability / 3)
    changed = (frames.astype(np.float32) - 127.5) @ mixing.astype(np.float32).T + 127.5
    return np.asarray(changed.round().clip(0, 255), np.uint8)


LUMA = np.array([0.299, 0.587, 0.114])
RGB_TO_YIQ = np.array([LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])


@dataclass(frozen=True)
class ColorJitter:
    """Random brightness, contrast, saturation and hue, or no colour at all. The defaults are LeVJEPA's local crops.

    All in one linear map of colours: hue is turned in the YIQ space, contrast is about the clip's mean grey, and
    saturated values are cut off once, at the end.

    Args:
        probability: of changing a clip; `grayscale_probability` has its own draw.
        brightness, contrast, saturation: changed by factors up to 1 plus or minus this.
        hue: turned by up to this fraction of the colour circle.
        grayscale_probability: of a clip without colour.
    """

    probability: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    grayscale_probability: float = 0.2

    def __post_init__(self) -> None:
        for each in fields(self):
            most = 0.5 if each.name == "hue" else 1.0
            if not 0 <= getattr(self, each.name) <= most:
                raise ValueError(f"{each.name} ({getattr(self, each.name)}) must be between 0 and {most:g}")

    def __call__(self, frames: Frames, generator: np.random.Generator) -> Frames:
        spread = np.array([self.brightness, self.contrast, self.saturation, 2 * np.pi * self.hue])
        is_changed, is_gray = generator.random(2) < (self.probability, self.grayscale_probability)
        brightness, contrast, saturation, angle = (1, 1, 1, 0) + is_changed * spread * generator.uniform(-1, 1, 4)
        if not (is_changed or is_gray):
            return frames
        cosine, sine = np.cos(angle), np.sin(angle)
        turned = np.linalg.inv(RGB_TO_YIQ) @ [[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]] @ RGB_TO_YIQ
        saturation *= not is_gray
        mixing = contrast * brightness * (saturation * turned + (1 - saturation) * LUMA)  # (3, 3)
        rows = frames.reshape(-1, *frames.shape[2:])  # all frames as one picture
        shift = (1 - contrast) * brightness * float(np.array(cv2.mean(rows)[:3]) @ LUMA)
        affine = np.column_stack([mixing, np.full(3, shift)])
        return np.asarray(cv2.transform(rows, affine), np.uint8).reshape(frames.shape)
