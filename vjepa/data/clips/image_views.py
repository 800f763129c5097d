"""Views of frames: crops of other sizes, places and colours, for objectives that compare images (DINO, 2104.14294)."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vjepa.data.clips.batch import ClipBatch, clip_index, normalize_frames
from vjepa.data.randomness import Purpose, generator_for


class Views(NamedTuple):
    """Normalised like clips, one frame long."""

    large: Tensor  # (G, B, 3, 1, H, W)
    small: Tensor  # (L, B, 3, 1, h, w)


class ImageViews:
    """Draws views of each clip's frames; a clip's place in the run decides them, on whatever rank it is.

    Each view is of a frame of its own: what lasts over a clip is what views share. Crops are bilinear, without
    smoothing; blur and solarization, for photographs, are left out.

    Args:
        num_large, num_small: views of each clip.
        large_size, small_size: their height and width, in pixels.
        large_scale, small_scale: range of a crop's share of the frame's area. Published: split at 0.25 to 0.4.
        aspect_ratio: range of a crop's height over its width, on a log scale; what is larger than the frame is cut.
        flip_probability: share of views that are mirrored.
        color_jitter: brightness, contrast and saturation are changed by factors up to 1 plus or minus this.
        grayscale_probability: share of views without colour.
        seed: of all that is drawn.
    """

    def __init__(
        self,
        large_size: tuple[int, int],
        small_size: tuple[int, int],
        num_large: int = 2,
        num_small: int = 4,
        large_scale: tuple[float, float] = (0.4, 1.0),
        small_scale: tuple[float, float] = (0.05, 0.4),
        aspect_ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip_probability: float = 0.5,
        color_jitter: float = 0.4,
        grayscale_probability: float = 0.2,
        seed: int = 0,
    ):
        if num_large < 1 or num_small < 0 or num_large + num_small < 2:
            raise ValueError(
                f"num_large ({num_large}) must be at least 1, and at least 2 together with num_small ({num_small})"
            )
        for name, (least, most) in (("large_scale", large_scale), ("small_scale", small_scale)):
            if not 0 < least <= most <= 1:
                raise ValueError(f"{name} ({[least, most]}) must be a rising range of shares, above 0 and up to 1")
        if not 0 <= color_jitter < 1:
            raise ValueError(f"color_jitter ({color_jitter}) must be from 0 to below 1")
        self.large_size = large_size
        self.small_size = small_size
        self.num_large = num_large
        self.num_small = num_small
        self.scales = [large_scale] * num_large + [small_scale] * num_small
        self.aspect_ratio = aspect_ratio
        self.flip_probability = flip_probability
        self.color_jitter = color_jitter
        self.grayscale_probability = grayscale_probability
        self.seed = seed

    def __call__(self, batch: ClipBatch) -> Views:
        clips = batch.clips  # (B, 3, T, H, W)
        drawn = [self._drawn(place, clips.shape[-3:]) for place in _places_of(batch.positions)]
        frames, boxes, colours = (
            torch.from_numpy(np.stack(part, axis=1)).to(clips.device) for part in zip(*drawn, strict=True)
        )  # (V, B), (V, B, 2, 3), (V, B, 4)
        of_clips = torch.arange(len(clips), device=clips.device)
        views: list[Tensor] = []
        for number in range(len(self.scales)):
            size = self.large_size if number < self.num_large else self.small_size
            of_view = normalize_frames(clips[of_clips, :, frames[number]])  # (B, 3, H, W)
            places = F.affine_grid(boxes[number], [len(clips), 3, *size], align_corners=False)
            cropped = F.grid_sample(of_view, places, padding_mode="border", align_corners=False)
            views.append(_coloured(cropped, colours[number]).unsqueeze(2))
        nothing = views[0].new_empty(0, len(clips), 3, 1, *self.small_size)
        return Views(
            torch.stack(views[: self.num_large]), torch.stack(views[self.num_large :]) if self.num_small else nothing
        )

    def _drawn(self, place: int, clip_size: torch.Size) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Frames (V,), crops as affine maps (V, 2, 3) and colour changes (V, 4) of one clip's views."""
        num_frames, height, width = clip_size
        generator = generator_for(self.seed, Purpose.VIEW, place)
        num_views = len(self.scales)
        frames = generator.integers(num_frames, size=num_views)
        area = generator.uniform(*np.array(self.scales).T) * height * width
        flattest, tallest = np.log(self.aspect_ratio)
        ratio = np.exp(generator.uniform(flattest, tallest, num_views))
        share = np.stack([np.sqrt(area / ratio) / width, np.sqrt(area * ratio) / height], axis=1).clip(max=1.0)
        centre = (1 - share) * generator.uniform(-1, 1, (num_views, 2))
        mirrored = np.where(generator.random(num_views) < self.flip_probability, -1.0, 1.0)
        boxes = np.zeros((num_views, 2, 3), dtype=np.float32)
        boxes[:, 0, 0], boxes[:, 1, 1], boxes[:, :, 2] = share[:, 0] * mirrored, share[:, 1], centre
        colours = np.ones((num_views, 4), dtype=np.float32)
        colours[:, :3] = 1 + generator.uniform(-self.color_jitter, self.color_jitter, (num_views, 3))
        colours[:, 3] = generator.random(num_views) >= self.grayscale_probability
        return frames, boxes, colours


def _coloured(
    frames: Tensor,  # (B, 3, H, W) normalised
    changes: Tensor,  # (B, 4): brightness, contrast, saturation, and 0 where nothing but grey is left
) -> Tensor:  # (B, 3, H, W)
    # On normalised pixels, whose zero is the mean of photographs, brightness is a shift.
    brightness, contrast, saturation, in_colour = changes[:, :, None, None, None].unbind(1)
    mean = frames.mean((1, 2, 3), keepdim=True)
    frames = (frames - mean) * contrast + mean + (brightness - 1)
    grey = frames.mean(1, keepdim=True)
    return grey + (frames - grey) * saturation * in_colour


def _places_of(
    positions: Tensor,  # (B,) clips of one file share a position, and follow each other
) -> list[int]:
    """A number of its own for each clip of a run, the same on any rank."""
    seen: dict[int, int] = {}
    places = []
    for position in positions.tolist():
        number = seen.get(position, 0)
        seen[position] = number + 1
        places.append(clip_index(position, number))
    return places
