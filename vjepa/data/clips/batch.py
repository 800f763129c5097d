"""What a batch is: clips of one shape, their masks, and where each clip came from."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from vjepa.data.clips.dataset import Clip
from vjepa.data.clips.quarantine import Failure
from vjepa.data.randomness import Purpose, generator_for
from vjepa.grid import TokenGrid
from vjepa.masking import MaskStrategy, TubeMask

# Of ImageNet, as every V-JEPA model was trained.
PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)


class ClipBatch(NamedTuple):
    """Clips of one shape. A clip's place in the run (its position) decides everything random about it."""

    clips: Tensor  # (B, 3, T, H, W) uint8
    masks: list[TubeMask]  # one per mask strategy
    labels: Tensor  # (B,) int64, -1 where the manifest has none
    sources: Tensor  # (B,) int64: number of the source that the clip is from
    rows: Tensor  # (B,) int64: row of the source's manifest that the clip was cut from
    positions: Tensor  # (B,) int64: place in the run's endless sequence of files; clips of one file share it
    seconds: Tensor  # (B,) float32: how much of its file a clip covers
    failures: list[Failure]  # files that could not be read and were replaced


def normalize_clips(
    clips: Tensor,  # (B, 3, T, H, W) uint8
) -> Tensor:  # (B, 3, T, H, W) float32
    """Pixels to zero mean and unit variance on ImageNet, on the device that the clips are on."""
    mean, std = _pixel_statistics(clips.device)
    return (clips.float() - mean[..., None]) / std[..., None]


def normalize_frames(
    frames: Tensor,  # (..., 3, H, W) uint8
) -> Tensor:  # (..., 3, H, W) float32
    """As `normalize_clips`, for frames that stand alone."""
    mean, std = _pixel_statistics(frames.device)
    return (frames.float() - mean) / std


@lru_cache
def _pixel_statistics(device: torch.device) -> tuple[Tensor, Tensor]:  # (3, 1, 1) each
    # Kept: making them anew would copy to the device, and wait for it, at every step.
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) * 255 for values in (PIXEL_MEAN, PIXEL_STD))
    return mean, std


class ClipCollate:
    """Stacks the clips of files and draws their masks, in the worker, from the clips' positions.

    Args:
        strategies: of masks; each draws one mask per clip.
        tubelet: frames, height and width of a token.
        seed: of the masks.
        image_strategies: of masks on clips of one frame, whose tokens are one frame long; None where there are no such
            clips.
    """

    def __init__(
        self,
        strategies: Sequence[MaskStrategy],
        tubelet: tuple[int, int, int],
        seed: int,
        image_strategies: Sequence[MaskStrategy] | None = None,
    ):
        self.strategies = strategies
        self.tubelet = tubelet
        self.seed = seed
        self.image_strategies = image_strategies

    def __call__(self, clips_of_files: list[list[Clip]]) -> ClipBatch:
        clips = [clip for of_file in clips_of_files for clip in of_file]
        pixels = torch.stack([clip.pixels for clip in clips])
        num_frames, height, width = pixels.shape[2:]
        strategies, tubelet = self.strategies, self.tubelet
        if num_frames == 1 and self.image_strategies is not None:
            strategies, tubelet = self.image_strategies, (1, *self.tubelet[1:])
        grid = TokenGrid.of_clip((num_frames, height, width), tubelet)
        return ClipBatch(
            clips=pixels,
            masks=[self._draw(number, strategy, grid, clips) for number, strategy in enumerate(strategies)],
            labels=torch.tensor([clip.label for clip in clips]),
            sources=torch.tensor([clip.source for clip in clips]),
            rows=torch.tensor([clip.row for clip in clips]),
            positions=torch.tensor([clip.key.position for clip in clips]),
            seconds=torch.tensor([clip.seconds for clip in clips], dtype=torch.float32),
            failures=[failure for clip in clips for failure in clip.failures],
        )

    def _draw(self, number: int, strategy: MaskStrategy, grid: TokenGrid, clips: list[Clip]) -> TubeMask:
        of_batch = generator_for(self.seed, Purpose.MASK_OF_BATCH, number, clips[0].key.batch_position)
        places = [place_of_clip(clip.key.position, clip.number) for clip in clips]
        of_clips = [generator_for(self.seed, Purpose.MASK_OF_CLIP, number, place) for place in places]
        return strategy(grid, of_batch, of_clips)


def place_of_clip(position: int, number: int) -> int:
    """A number of its own for each clip of a run: its file's position, and which clip of the file it is.

    The position itself for the first clip of a file.
    """
    return position + (number << 48)
