"""Augmentation of a clip: RandAugment, random erasing, colour jitter; in uint8, the same for all frames."""

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager

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
