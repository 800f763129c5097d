"""Stronger changes to a clip: RandAugment, random erasing, other colours; in uint8, the same for all frames."""

import random
import re
from contextlib import contextmanager

import numpy as np

POLICY = r"rand(-(m|n|mstd|mmax|p)\d+(\.\d+)?|-inc[01]|-w\d|-t\d)*"  # of what timm reads, what is a number


class RandAugment:
    """timm's RandAugment (arXiv 1909.13719) with one draw for all frames of a clip.

    Args:
        policy: timm's name of a policy; the released probes use "rand-m7-n4-mstd0.5-inc1".
    """

    def __init__(self, policy: str):
        from timm.data.auto_augment import rand_augment_transform  # only here: it brings torchvision

        if not re.fullmatch(POLICY, policy):
            raise ValueError(f"rand_augment ({policy}) must be a policy such as 'rand-m7-n4-mstd0.5-inc1'")
        grey = tuple(round(255 * mean) for mean in (0.485, 0.456, 0.406))  # fills what a shift uncovers
        self._transform = rand_augment_transform(policy, {"img_mean": grey})

    def __call__(
        self,
        frames: np.ndarray,  # (T, H, W, 3) uint8
        generator: np.random.Generator,
    ) -> np.ndarray:  # (T, H, W, 3) uint8
        from PIL import Image

        seed = int(generator.integers(2**32))
        changed = []
        for frame in frames:
            with _global_generators_seeded(seed):  # timm draws from them: the same draws for each frame
                changed.append(np.asarray(self._transform(Image.fromarray(frame))))
        return np.stack(changed)


@contextmanager
def _global_generators_seeded(seed: int):
    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def erase_box(
    frames: np.ndarray,  # (T, H, W, 3) uint8
    generator: np.random.Generator,
    area: tuple[float, float] = (0.02, 1 / 3),  # range of the share of the frame
    aspect_ratio: tuple[float, float] = (0.3, 10 / 3),  # range of height over width, on a log scale
) -> np.ndarray:  # (T, H, W, 3) uint8
    """Random erasing (arXiv 1708.04896): a box of noise at one place of all frames; none where ten do not fit."""
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


def jitter_colors(
    frames: np.ndarray,  # (T, H, W, 3) uint8
    generator: np.random.Generator,
    strength: float = 1.0,
) -> np.ndarray:  # (T, H, W, 3) uint8
    """Mix the channels towards grey, scale contrast about mid-grey, and turn half of the clips into negatives.

    What moves and how stays as it was; by its colours no clip is known again. `strength` scales the spread of contrast
    (a factor e^N(0, 0.3)) and the share of clips with less colour (0.8).
    """
    grayscale_probability = generator.random() * (generator.random() < 0.8 * strength)
    contrast = np.exp(0.3 * strength * generator.standard_normal())
    sign = -1.0 if generator.random() < 0.5 else 1.0
    mixing = sign * contrast * ((1 - grayscale_probability) * np.eye(3) + grayscale_probability / 3)
    changed = (frames.astype(np.float32) - 127.5) @ mixing.astype(np.float32).T + 127.5
    return changed.round().clip(0, 255).astype(np.uint8)
