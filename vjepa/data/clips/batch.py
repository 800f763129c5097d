"""A batch: clips of one shape, their masks and views, and where each clip comes from."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from vjepa.data.clips.dataset import Clip
from vjepa.data.clips.quarantine import Failure
from vjepa.data.clips.views import ViewSettings
from vjepa.data.randomness import Purpose, generator_for
from vjepa.grid import TokenGrid
from vjepa.masking import MaskStrategy, TubeMask, kept_tokens

# ImageNet's, as in all V-JEPA training.
PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)


class Views(NamedTuple):
    """V views of each clip of a batch, alike but for their random draws; V consecutive rows belong to one clip."""

    clips: UInt8[Tensor, "B_V 3 T h w"] | None  # None: the batch's own clips
    token_ids: Int64[Tensor, "B_V K"] | None  # ascending; None: all tokens


class ClipBatch(NamedTuple):
    """Clips of one shape. A clip's position in the run decides everything random about it."""

    clips: UInt8[Tensor, "B 3 T H W"]
    masks: list[TubeMask]  # one per mask strategy
    labels: Int64[Tensor, " B"]  # -1 where the manifest has none
    sources: Int64[Tensor, " B"]
    rows: Int64[Tensor, " B"]  # of the source's manifest
    positions: Int64[Tensor, " B"]  # in the run's sequence of files; clips of one file have the same
    seconds: Float32[Tensor, " B"]  # of its file, that a clip covers
    failures: list[Failure]  # unreadable files that were replaced
    views: list[Views] = []  # noqa: RUF012 (never changed); one per `ViewSettings`
    clips_per_file: int = 1  # clips of one file follow each other

    def parts(self, number: int) -> list["ClipBatch"]:
        """As many batches of equal size, whose clips follow each other; failures stay with the first."""
        size = len(self.clips) // number
        assert size * number == len(self.clips)
        return [self._rows(first, first + size) for first in range(0, len(self.clips), size)]

    def _rows(self, first: int, stop: int) -> "ClipBatch":
        rows = slice(first, stop)
        views = []
        for view in self.views:
            of_view = [None if each is None else each.unflatten(0, (len(self.clips), -1))[rows] for each in view]
            views.append(Views(*(None if each is None else each.flatten(0, 1) for each in of_view)))
        return self._replace(
            clips=self.clips[rows],
            masks=[TubeMask(*(ids[rows] for ids in mask)) for mask in self.masks],
            labels=self.labels[rows],
            sources=self.sources[rows],
            rows=self.rows[rows],
            positions=self.positions[rows],
            seconds=self.seconds[rows],
            failures=[] if first else self.failures,
            views=views,
        )


def normalize_clips(clips: UInt8[Tensor, "B 3 T H W"]) -> Float32[Tensor, "B 3 T H W"]:
    """Zero mean and unit variance on ImageNet, computed on the device of the clips."""
    mean, std = _pixel_statistics(clips.device)
    # In place: a new tensor costs as much as the arithmetic.
    return clips.to(torch.float32, copy=True).sub_(mean[..., None]).div_(std[..., None])


def normalize_frames(frames: UInt8[Tensor, "*B 3 H W"]) -> Float32[Tensor, "*B 3 H W"]:
    """As `normalize_clips`, for single frames."""
    mean, std = _pixel_statistics(frames.device)
    return (frames.float() - mean) / std


@lru_cache
def _pixel_statistics(device: torch.device) -> tuple[Float32[Tensor, "3 1 1"], Float32[Tensor, "3 1 1"]]:
    # Cached: creating them at every step would copy to the device, and wait for it.
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) * 255 for values in (PIXEL_MEAN, PIXEL_STD))
    return mean, std


def collate_clips(files: list[list[Clip]]) -> ClipBatch:
    """Stack the clips of several files, without masks and views."""
    clips = [clip for file in files for clip in file]
    return ClipBatch(
        clips=torch.stack([clip.pixels for clip in clips]),
        masks=[],
        labels=torch.tensor([clip.label for clip in clips]),
        sources=torch.tensor([clip.source for clip in clips]),
        rows=torch.tensor([clip.row for clip in clips]),
        positions=torch.tensor([clip.key.position for clip in clips]),
        seconds=torch.tensor([clip.seconds for clip in clips], dtype=torch.float32),
        failures=[failure for clip in clips for failure in clip.failures],
        clips_per_file=len(files[0]),
    )


class MaskingCollate:
    """Stacks clips and draws their masks and views, in the worker, from the clips' positions.

    Args:
        strategies: each draws one mask per clip.
        tubelet: frames, height and width of a token.
        seed: of the masks and views.
        image_strategies: for clips of one frame, whose tokens are one frame long; None where there are no such clips.
        views: of each clip.
    """

    def __init__(
        self,
        strategies: Sequence[MaskStrategy],
        tubelet: tuple[int, int, int],
        seed: int,
        image_strategies: Sequence[MaskStrategy] | None = None,
        views: Sequence[ViewSettings] = (),
    ):
        self.strategies = strategies
        self.tubelet = tubelet
        self.seed = seed
        self.image_strategies = image_strategies
        self.views = views

    def __call__(self, files: list[list[Clip]]) -> ClipBatch:
        batch = collate_clips(files)
        num_frames, height, width = batch.clips.shape[2:]
        strategies, tubelet = self.strategies, self.tubelet
        if num_frames == 1 and self.image_strategies is not None:
            strategies, tubelet = self.image_strategies, (1, *self.tubelet[1:])
        grid = TokenGrid.of_clip((num_frames, height, width), tubelet)
        batch_position = files[0][0].key.batch_position
        indices = [clip_index(clip.key.position, clip.number) for clips in files for clip in clips]
        masks = []
        for number, draw in enumerate(strategies):
            for_batch = generator_for(self.seed, Purpose.MASK_OF_BATCH, number, batch_position)
            for_clips = [generator_for(self.seed, Purpose.MASK_OF_CLIP, number, index) for index in indices]
            masks.append(draw(grid, for_batch, for_clips))
        views = []
        for number, settings in enumerate(self.views):
            crops = [view for clips in files for clip in clips if (view := clip.views[number]) is not None]
            token_ids = None
            if settings.keep_ratio < 1:
                grid = TokenGrid.of_clip((num_frames, *(settings.crop_size or (height, width))), tubelet)
                generators = [generator_for(self.seed, Purpose.TOKENS_OF_VIEW, number, index) for index in indices]
                token_ids = kept_tokens(grid, settings.keep_ratio, generators, settings.number)
            views.append(Views(torch.cat(crops) if crops else None, token_ids))
        return batch._replace(masks=masks, views=views)


def clip_index(position: int, number: int) -> int:
    """Unique clip index within the run: the position of its file, and its number among the clips of the file."""
    return position + (number << 48)
