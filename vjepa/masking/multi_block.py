"""Multi-block tube masks with even coverage: V-JEPA's blocks (arXiv 2404.08471, section 3.2) without their bias.

The released generator keeps each batch's masks equally long by cutting off the highest token ids, which nearly removes
the last frames from context and target (measured: 5 % of the first frame's coverage at 24 clips). Here the number of
targets follows from the block size alone, blocks lie on a torus, and a clip whose blocks cover more or less than that
number loses or gains tokens at the blocks' rims. On a torus every token is alike, so coverage is even over time, height
and width by symmetry, and every token is either context or target.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Int64

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

        order = np.stack([self._order_of_hiding(drawn, block, generator) for generator in clip_generators])
        is_target = np.zeros(order.shape, dtype=bool)
        np.put_along_axis(is_target, order[:, :num_targets], True, axis=1)
        is_target = np.tile(is_target, grid.frames // drawn.frames)
        return TubeMask(context_ids=_ids_where(~is_target), target_ids=_ids_where(is_target))

    def _order_of_hiding(
        self, grid: TokenGrid, block: tuple[int, int, int], generator: np.random.Generator
    ) -> Int64[np.ndarray, " N"]:  # token ids, block by block, and within a block from its inside to its rim
        corners = generator.integers(0, grid, size=(self.num_blocks, 3))
        inside = [
            (np.arange(length) - corners[:, axis, None]) % length < block[axis] for axis, length in enumerate(grid)
        ]
        covered = inside[0][:, :, None, None] & inside[1][:, None, :, None] & inside[2][:, None, None, :]
        first_block = np.where(covered.any(0), covered.argmax(0), self.num_blocks)
        neighbours = _count_neighbours(np.logical_or.reduce(covered))
        tie_break = generator.random(tuple(grid))
        return np.lexsort((tie_break.ravel(), -neighbours.ravel(), first_block.ravel()))


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


def _count_neighbours(covered: np.ndarray) -> np.ndarray:
    """How many of the surrounding tokens (on the torus) are covered, for each token of a (T, H, W) array."""
    count = covered.astype(np.int64)
    for axis in range(covered.ndim):
        if covered.shape[axis] > 1:
            count = count + np.roll(count, 1, axis) + np.roll(count, -1, axis)
    return count


def _ids_where(
    chosen: Bool[np.ndarray, "B N"],  # equally many in each row
) -> torch.Tensor:  # (B, K) int64, ascending
    return torch.from_numpy(np.nonzero(chosen)[1].reshape(len(chosen), -1))
