"""Views of a clip, for objectives that compare them: which tokens each keeps, and crops of the clip's own frames.

Defaults are safe for labels: a view shows what its clip shows, unmirrored and in the file's colours.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from vjepa.data.clips.augmentation import ColorJitter, jitter_colors
from vjepa.data.video.transforms import channels_first, crop_resize, random_crop_box


@dataclass(frozen=True)
class ViewSettings:
    """Views of each clip, alike but for what is drawn at random for each.

    Args:
        number: of views of each clip.
        keep_ratio: fraction of a view's tokens that it keeps, drawn anywhere in the clip. LeVJEPA keeps 0.05.
        crop_size: height and width of a view in pixels, cut from the whole frames of its clip; the clip itself if None.
        crop_scale: range of the fraction of a frame's area that a crop covers.
        crop_aspect_ratio: range of a crop's width over height.
        flip_probability: of mirroring a crop. Without it crops are mirrored where their clip is.
        color_jitter: of a crop, which has the file's colours and not its clip's: the strength of random colours,
            contrasts and negatives (none at 0), or a `ColorJitter`.
    """

    number: int
    keep_ratio: float = 1.0
    crop_size: tuple[int, int] | None = None
    crop_scale: tuple[float, float] = (0.3, 1.0)
    crop_aspect_ratio: tuple[float, float] = (0.75, 1.35)
    flip_probability: float = 0.0
    color_jitter: float | ColorJitter = 0.0

    def __post_init__(self) -> None:
        if self.number < 1:
            raise ValueError(f"the number of views ({self.number}) must be at least 1")
        if not 0 < self.keep_ratio <= 1:
            raise ValueError(f"keep_ratio ({self.keep_ratio}) of a view must be more than 0 and at most 1")
        if self.crop_size is None:
            self._check_clip_itself()
        if not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"crop_scale ({self.crop_scale}) of views must be a rising range, above 0 and up to 1")
        if not 0 <= self.flip_probability <= 1:
            raise ValueError(f"flip_probability ({self.flip_probability}) of views must be between 0 and 1")
        if isinstance(self.color_jitter, float | int) and not 0 <= self.color_jitter <= 1:
            raise ValueError(f"color_jitter ({self.color_jitter}) of views must be between 0 and 1, or a ColorJitter")

    def _check_clip_itself(self) -> None:
        for name in ("crop_scale", "crop_aspect_ratio", "flip_probability", "color_jitter"):
            if getattr(self, name) != getattr(ViewSettings, name):
                raise ValueError(f"{name} ({getattr(self, name)}) changes crops alone; give these views a crop_size")
        if self.number > 1 and self.keep_ratio == 1:
            raise ValueError(
                f"{self.number} views that keep all tokens of their clip (keep_ratio 1) are the same; "
                f"give a smaller keep_ratio or a crop_size"
            )


def cut_view(
    frames: UInt8[np.ndarray, "T H W 3"],  # whole, of the clip
    settings: ViewSettings,
    is_mirrored: bool,  # the clip
    generator: np.random.Generator,  # of this view alone
) -> UInt8[np.ndarray, "3 T h w"]:
    """A random crop of a clip's frames, and its changes."""
    box = random_crop_box(frames.shape[1:3], settings.crop_scale, settings.crop_aspect_ratio, generator)
    flip = bool(generator.random() < settings.flip_probability)
    view, jitter = crop_resize(frames, box, settings.crop_size), settings.color_jitter
    if isinstance(jitter, ColorJitter):
        view = jitter(view, generator)
    elif jitter:
        view = jitter_colors(view, generator, jitter)
    return channels_first(view, flip != is_mirrored)
