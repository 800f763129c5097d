"""Views of frames: crops of other sizes, positions and colours, for objectives that compare images (DINO)."""

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from vjepa.data.clips.batch import ClipBatch, clip_index, normalize_frames
from vjepa.data.randomness import Purpose, generator_for


class MultiCrop(NamedTuple):
    """Large and small views, normalized like clips, one frame long."""

    large: Float[Tensor, "G B 3 1 H W"]
    small: Float[Tensor, "L B 3 1 h w"]


class ViewDraws(NamedTuple):
    """Random choices for all views of a clip."""

    frames: Int64[np.ndarray, " V"]
    boxes: Float32[np.ndarray, "V 2 3"]  # crops as affine maps
    colors: Float32[np.ndarray, "V 4"]  # see `_jittered`


@dataclass(frozen=True)
class ImageViews:
    """Draws views of each clip's frames (arXiv 2104.14294), as a function of the clip's position in the run.

    Each view has its own frame, so that views share what persists over a clip. Crops are bilinear, without smoothing;
    blur and solarization, for photographs, are left out.

    Args:
        large_size, small_size: height and width of views in pixels.
        num_large, num_small: views of each clip.
        large_scale, small_scale: range of the fraction of the frame's area. Published: split at 0.25 to 0.4.
        aspect_ratio: range of a crop's height over its width, on a log scale; larger crops are cut at the frame.
        flip_probability: of mirroring a view.
        color_jitter: brightness, contrast and saturation are changed by factors up to 1 plus or minus this.
        grayscale_probability: of a view without colour.
        seed: of all draws.
    """

    large_size: tuple[int, int]
    small_size: tuple[int, int]
    num_large: int = 2
    num_small: int = 4
    large_scale: tuple[float, float] = (0.4, 1.0)
    small_scale: tuple[float, float] = (0.05, 0.4)
    aspect_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip_probability: float = 0.5
    color_jitter: float = 0.4
    grayscale_probability: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_large < 1 or self.num_small < 0 or self.num_large + self.num_small < 2:
            raise ValueError(
                f"num_large ({self.num_large}) must be at least 1, and at least 2 together with num_small "
                f"({self.num_small})"
            )
        for name, (least, most) in (("large_scale", self.large_scale), ("small_scale", self.small_scale)):
            if not 0 < least <= most <= 1:
                raise ValueError(f"{name} ({[least, most]}) must be a rising range of fractions, above 0 and up to 1")
        if not 0 <= self.color_jitter < 1:
            raise ValueError(f"color_jitter ({self.color_jitter}) must be from 0 to below 1")

    def __call__(self, batch: ClipBatch) -> MultiCrop:
        clips = batch.clips
        draws = [self._draw(index, clips.shape[-3:]) for index in _clip_indices(batch.positions)]
        frames, boxes, colors = (
            torch.from_numpy(np.stack(part, axis=1)).to(clips.device) for part in zip(*draws, strict=True)
        )  # (V, B), (V, B, 2, 3), (V, B, 4)
        rows = torch.arange(len(clips), device=clips.device)
        views: list[Tensor] = []
        for number in range(self.num_large + self.num_small):
            size = self.large_size if number < self.num_large else self.small_size
            chosen = normalize_frames(clips[rows, :, frames[number]])  # (B, 3, H, W)
            grid = F.affine_grid(boxes[number], [len(clips), 3, *size], align_corners=False)
            cropped = F.grid_sample(chosen, grid, padding_mode="border", align_corners=False)
            views.append(_jittered(cropped, colors[number]).unsqueeze(2))
        none = views[0].new_empty(0, len(clips), 3, 1, *self.small_size)
        small = torch.stack(views[self.num_large :]) if self.num_small else none
        return MultiCrop(torch.stack(views[: self.num_large]), small)

    def _draw(self, index: int, clip_size: torch.Size) -> ViewDraws:
        num_frames, height, width = clip_size
        generator = generator_for(self.seed, Purpose.VIEW, index)
        scales = [self.large_scale] * self.num_large + [self.small_scale] * self.num_small
        num_views = len(scales)
        frames = generator.integers(num_frames, size=num_views)
        area = generator.uniform(*np.array(scales).T) * height * width
        flattest, tallest = np.log(self.aspect_ratio)
        ratio = np.exp(generator.uniform(flattest, tallest, num_views))
        # Width and height as fractions of the frame's.
        extent = np.stack([np.sqrt(area / ratio) / width, np.sqrt(area * ratio) / height], axis=1).clip(max=1.0)
        centre = (1 - extent) * generator.uniform(-1, 1, (num_views, 2))
        mirrored = np.where(generator.random(num_views) < self.flip_probability, -1.0, 1.0)
        boxes = np.zeros((num_views, 2, 3), dtype=np.float32)
        boxes[:, 0, 0], boxes[:, 1, 1], boxes[:, :, 2] = extent[:, 0] * mirrored, extent[:, 1], centre
        colors = np.ones((num_views, 4), dtype=np.float32)
        colors[:, :3] = 1 + generator.uniform(-self.color_jitter, self.color_jitter, (num_views, 3))
        colors[:, 3] = generator.random(num_views) >= self.grayscale_probability
        return ViewDraws(frames, boxes, colors)


def _jittered(
    frames: Float[Tensor, "B 3 H W"],
    changes: Float[Tensor, "B 4"],  # brightness, contrast, saturation, and 0 for grayscale
) -> Float[Tensor, "B 3 H W"]:
    # On normalized pixels, whose zero is the mean of photographs, brightness is a shift.
    brightness, contrast, saturation, in_color = changes[:, :, None, None, None].unbind(1)
    mean = frames.mean((1, 2, 3), keepdim=True)
    frames = (frames - mean) * contrast + mean + (brightness - 1)
    grey = frames.mean(1, keepdim=True)
    return grey + (frames - grey) * saturation * in_color


def _clip_indices(positions: Int64[Tensor, " B"]) -> list[int]:
    """Unique clip indices; clips of one file share a position, and follow each other."""
    seen: Counter[int] = Counter()
    indices = []
    for position in positions.tolist():
        indices.append(clip_index(position, seen[position]))
        seen[position] += 1
    return indices
