"""Multi-block tube masks as the released V-JEPA 1, 2 and 2.1 code draws them, bias included.

Use it to reproduce published runs. All clips of a batch are cut to the batch's shortest mask by dropping the highest
token ids, so the last frames are rarely seen or predicted, more so the larger the batch on a device.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Int64

from vjepa.grid import TokenGrid
from vjepa.masking.multi_block import block_size, check_ranges
from vjepa.masking.tube_mask import TubeMask, check_room_for_mask


class ReferenceMultiBlockTubes:
    """Hide `num_blocks` blocks that lie wholly inside the clip, then cut every mask to the batch minimum.

    Args:
        num_blocks, spatial_scale, temporal_scale, aspect_ratio: as for `MultiBlockTubes`.
        max_temporal_keep: hide all frames after this fraction of the clip.
        max_context_tokens: most context tokens; those with the highest ids are dropped.
    """

    def __init__(
        self,
        num_blocks: int = 8,
        spatial_scale: tuple[float, float] = (0.15, 0.15),
        temporal_scale: tuple[float, float] = (1.0, 1.0),
        aspect_ratio: tuple[float, float] = (0.75, 1.5),
        max_temporal_keep: float = 1.0,
        max_context_tokens: int | None = None,
    ):
        check_ranges(num_blocks, spatial_scale, temporal_scale, aspect_ratio)
        self.num_blocks = num_blocks
        self.ranges = (temporal_scale, spatial_scale, aspect_ratio)
        self.max_temporal_keep = max_temporal_keep
        self.max_context_tokens = max_context_tokens

    def __call__(
        self,
        grid: TokenGrid,
        batch_generator: np.random.Generator,
        clip_generators: Sequence[np.random.Generator],
    ) -> TubeMask:
        check_room_for_mask(grid, self.num_blocks)
        block = block_size(grid, *self.ranges, uniforms=tuple(batch_generator.random(3)))
        if block[0] * block[1] * block[2] == grid.num_tokens:
            raise ValueError("a block as large as the clip leaves no context; lower spatial_scale or temporal_scale")
        visible = self._visible_tokens(grid, block, clip_generators)
        context = [np.flatnonzero(clip) for clip in visible]
        target = [np.flatnonzero(~clip) for clip in visible]
        num_context = min(map(len, context))
        if self.max_context_tokens is not None:
            num_context = min(num_context, self.max_context_tokens)
        num_target = min(map(len, target))
        return TubeMask(
            context_ids=torch.from_numpy(np.stack([ids[:num_context] for ids in context])),
            target_ids=torch.from_numpy(np.stack([ids[:num_target] for ids in target])),
        )

    def _visible_tokens(
        self, grid: TokenGrid, block: tuple[int, int, int], generators: Sequence[np.random.Generator]
    ) -> Bool[np.ndarray, "B N"]:  # at least one True in each row
        room = np.array(grid) - np.array(block) + 1
        kept_frames = grid.frames
        if self.max_temporal_keep < 1:
            kept_frames = max(1, int(grid.frames * self.max_temporal_keep))
        visible = np.zeros((len(generators), *grid), dtype=bool)
        missing = np.arange(len(generators))
        while len(missing):  # those with nothing visible are drawn again
            starts = np.stack([generators[int(i)].integers(0, room, size=(self.num_blocks, 3)) for i in missing])
            visible[missing] = ~_covered(grid, block, starts)
            visible[missing, kept_frames:] = False
            missing = missing[~visible[missing].any((1, 2, 3))]
        return visible.reshape(len(generators), -1)


def _covered(
    grid: TokenGrid, block: tuple[int, int, int], starts: Int64[np.ndarray, "B blocks 3"]
) -> Bool[np.ndarray, "B _ H W"]:  # one frame where blocks span all
    lengths = (1 if block[0] == grid.frames else grid.frames, grid.height, grid.width)
    places = [np.arange(length) - starts[:, :, axis, None] for axis, length in enumerate(lengths)]
    time, row, column = ((place >= 0) & (place < size) for place, size in zip(places, block, strict=True))
    plane = row[..., :, None] & column[..., None, :]  # (B, blocks, H, W)
    return (time[..., None, None] & plane[:, :, None]).any(1)
