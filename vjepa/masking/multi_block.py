"""Multi-block tube masks with even coverage: V-JEPA's blocks (arXiv 2404.08471, section 3.2) without their bias.

The released generator keeps each batch's masks equally long by cutting off the highest token ids, which nearly removes
the last frames from context and target (measured: 5 % of the first frame's coverage at 24 clips). Here the number of
targets follows from the block size alone, blocks lie on a torus, and a clip whose blocks cover more or less than that
number loses or gains tokens at the blocks' rims. On a torus every token is alike, so coverage is even over time, height
and width by symmetry, and every token is either context or target.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64

from vjepa.grid import TokenGrid
from vjepa.masking.tube_mask import TubeMask, check_room_for_mask


class MultiBlockTubes:
    """Hide the union of `num_blocks` blocks. The released short-range mask is (8, 0.15), the long-range mask (2, 0.7).

    Args:
        num_blocks: blocks of a clip.
        spatial_scale, temporal_scale: range of the fraction of a frame's area, and of the frames, that a block covers.
        aspect_ratio: range of a block's height over its width.
    """

    def __init__(
        self,
        num_blocks: int = 8,
        spatial_scale: tuple[float, float] = (0.15, 0.15),
        temporal_scale: tuple[float, float] = (1.0, 1.0),
        aspect_ratio: tuple[float, float] = (0.75, 1.5),
    ):
        check_ranges(num_blocks, spatial_scale, temporal_scale, aspect_ratio)
        self.num_blocks = num_blocks
        self.ranges = (temporal_scale, spatial_scale, aspect_ratio)

    def __call__(
        self,
        grid: TokenGrid,
        batch_generator: np.random.Generator,
        clip_generators: Sequence[np.random.Generator],
    ) -> TubeMask:
        check_room_for_mask(grid, self.num_blocks)
        block = block_size(grid, *self.ranges, uniforms=tuple(batch_generator.random(3)))
        # A block over all frames is a tube: then the mask is drawn for one frame and repeated.
        drawn = grid._replace(frames=1) if block[0] == grid.frames else grid
        block = (min(block[0], drawn.frames), *block[1:])
        num_targets = expected_coverage(drawn, block, self.num_blocks)

        lengths, tie_breaks = np.array(drawn), np.empty((len(clip_generators), *drawn))
        corners = np.empty((len(clip_generators), self.num_blocks, 3), dtype=np.int64)
        for clip, generator in enumerate(clip_generators):
            corners[clip] = generator.integers(0, lengths, size=(self.num_blocks, 3))
            generator.random(out=tie_breaks[clip])
        rank = _rank_of_hiding(drawn, block, corners, tie_breaks)
        is_target = np.zeros(rank.shape, dtype=bool)
        np.put_along_axis(is_target, rank.argpartition(num_targets - 1, axis=1)[:, :num_targets], True, axis=1)
        repeats = grid.frames // drawn.frames
        return TubeMask(context_ids=_ids_where(~is_target, repeats), target_ids=_ids_where(is_target, repeats))


def _rank_of_hiding(
    grid: TokenGrid,
    block: tuple[int, int, int],
    corners: Int64[np.ndarray, "B blocks 3"],
    tie_breaks: Float64[np.ndarray, "B T H W"],  # from 0 to 1
) -> Float64[np.ndarray, "B N"]:  # of each token; the lowest are hidden
    """Block by block, and within a block from its inside to its rim."""
    inside = [
        (np.arange(length) - corners[:, :, axis, None]) % length < block[axis] for axis, length in enumerate(grid)
    ]
    covered = (
        inside[0][:, :, :, None, None] & inside[1][:, :, None, :, None] & inside[2][:, :, None, None, :]
    )  # (B, blocks, T, H, W)
    num_blocks = corners.shape[1]
    to_come = np.arange(
        num_blocks, 0, -1, dtype=np.int32
    )  # blocks from the first that covers a token to the last; or 0
    covering = (covered * to_come[:, None, None, None]).max(1)
    most = 3 ** len(grid)  # neighbours of a token, itself too
    order = (num_blocks - covering) * (most + 1) + (most - _count_neighbours(covering > 0))
    return (order + tie_breaks).reshape(len(corners), -1)


def block_size(
    grid: TokenGrid,
    temporal_scale: tuple[float, float],
    spatial_scale: tuple[float, float],
    aspect_ratio: tuple[float, float],
    uniforms: tuple[float, ...],  # three numbers in [0, 1): for the temporal scale, the spatial scale, the aspect ratio
) -> tuple[int, int, int]:  # frames, height, width in tokens
    """The size of a block, by the rule of the released V-JEPA code (rounding included)."""
    low_high = (temporal_scale, spatial_scale, aspect_ratio)
    temporal, spatial, ratio = (low + u * (high - low) for (low, high), u in zip(low_high, uniforms, strict=True))
    frames = max(1, int(grid.frames * temporal))
    area = int(grid.height * grid.width * spatial)
    height = max(1, min(grid.height, round((area * ratio) ** 0.5)))
    width = max(1, min(grid.width, round((area / ratio) ** 0.5)))
    return frames, height, width


@lru_cache
def expected_coverage(grid: TokenGrid, block: tuple[int, int, int], num_blocks: int) -> int:
    """Mean number of tokens that `num_blocks` uniformly placed blocks inside the grid cover, from 1 to all but one."""
    chance = np.ones(1)
    for length, size in zip(grid, block, strict=True):
        starts = np.arange(length - size + 1)
        covers = (np.arange(length)[:, None] >= starts) & (np.arange(length)[:, None] < starts + size)
        chance = np.multiply.outer(chance, covers.mean(1))
    covered = (1 - (1 - chance) ** num_blocks).sum()
    return int(np.clip(round(float(covered)), 1, grid.num_tokens - 1))


def check_ranges(
    num_blocks: int,
    spatial_scale: tuple[float, float],
    temporal_scale: tuple[float, float],
    aspect_ratio: tuple[float, float],
) -> None:
    """Raise ValueError for settings that describe no mask."""
    if num_blocks < 1:
        raise ValueError(f"num_blocks ({num_blocks}) must be at least 1")
    for name, (low, high), most in (
        ("spatial_scale", spatial_scale, 1.0),
        ("temporal_scale", temporal_scale, 1.0),
        ("aspect_ratio", aspect_ratio, float("inf")),
    ):
        if not 0 < low <= high <= most:
            raise ValueError(f"{name} ({low}, {high}) must be a range (low, high) with 0 < low <= high <= {most}")


def _count_neighbours(covered: Bool[np.ndarray, "B T H W"]) -> Int64[np.ndarray, "B T H W"]:
    """How many of the surrounding tokens (on the torus) are covered."""
    count = covered.astype(np.int64)
    for axis in range(1, covered.ndim):
        if covered.shape[axis] > 1:
            count = count + np.roll(count, 1, axis) + np.roll(count, -1, axis)
    return count


def _ids_where(
    chosen: Bool[np.ndarray, "B N"],  # equally many in each row
    repeats: int,  # of these tokens, one after the other
) -> torch.Tensor:  # (B, repeats * K) int64, ascending
    ids = np.nonzero(chosen)[1].reshape(len(chosen), 1, -1)
    return torch.from_numpy((ids + chosen.shape[1] * np.arange(repeats)[:, None]).reshape(len(chosen), -1))
