"""Masks of all clips at once are those of one clip after the other, bit for bit."""

import numpy as np
import pytest
import torch

from vjepa.grid import TokenGrid
from vjepa.masking import MultiBlockTubes, ReferenceMultiBlockTubes, TubeMask
from vjepa.masking.multi_block import block_size, expected_coverage

GRIDS = [TokenGrid(8, 16, 16), TokenGrid(4, 8, 6), TokenGrid(1, 14, 14)]
SETTINGS = [
    {"num_blocks": 8, "spatial_scale": (0.15, 0.15)},
    {"num_blocks": 2, "spatial_scale": (0.7, 0.7)},
    {"num_blocks": 3, "spatial_scale": (0.2, 0.6), "temporal_scale": (0.3, 1.0)},
]


def even_masks(grid, batch_generator, clip_generators, num_blocks, **ranges) -> TubeMask:
    """`MultiBlockTubes`, clip by clip: tokens by the first block that covers them, inner ones first, ties at random."""
    block = block_size(grid, *MultiBlockTubes(num_blocks, **ranges).ranges, tuple(batch_generator.random(3)))
    drawn = grid._replace(frames=1) if block[0] == grid.frames else grid
    block = (min(block[0], drawn.frames), *block[1:])
    contexts, targets = [], []
    for generator in clip_generators:
        first = np.full(tuple(drawn), num_blocks)
        for number, corner in reversed(list(enumerate(generator.integers(0, drawn, size=(num_blocks, 3))))):
            places = [
                (start + np.arange(size)) % length for start, size, length in zip(corner, block, drawn, strict=True)
            ]
            first[np.ix_(*places)] = number
        covered = np.pad(first < num_blocks, [(1, 1) if length > 1 else (0, 0) for length in drawn], mode="wrap")
        around = sum(
            np.roll(covered, shift, (0, 1, 2)).astype(int)
            for shift in np.ndindex(*(3 if length > 1 else 1 for length in drawn))
        )
        around = np.roll(around, [-1 if length > 1 else 0 for length in drawn], (0, 1, 2))
        inner = around[tuple(slice(1, -1) if length > 1 else slice(None) for length in drawn)]
        order = np.lexsort((generator.random(tuple(drawn)).ravel(), -inner.ravel(), first.ravel()))
        hidden = np.zeros(drawn.num_tokens, dtype=bool)
        hidden[order[: expected_coverage(drawn, block, num_blocks)]] = True
        hidden = np.tile(hidden, grid.frames // drawn.frames)
        contexts.append(np.flatnonzero(~hidden))
        targets.append(np.flatnonzero(hidden))
    return TubeMask(*(torch.from_numpy(np.stack(ids)) for ids in (contexts, targets)))


def released_masks(grid, batch_generator, clip_generators, num_blocks, max_temporal_keep=1.0, **ranges) -> TubeMask:
    """`ReferenceMultiBlockTubes`, clip by clip and block by block."""
    block = block_size(grid, *MultiBlockTubes(num_blocks, **ranges).ranges, tuple(batch_generator.random(3)))
    clips = []
    for generator in clip_generators:
        visible = np.zeros(tuple(grid), dtype=bool)
        while not visible.any():
            visible[:] = True
            for start in generator.integers(0, np.array(grid) - block + 1, size=(num_blocks, 3)):
                visible[tuple(slice(s, s + size) for s, size in zip(start, block, strict=True))] = False
            visible[max(1, int(grid.frames * max_temporal_keep)) :] = False
        clips.append(visible.ravel())
    shortest = min(clip.sum() for clip in clips), min((~clip).sum() for clip in clips)
    context = np.stack([np.flatnonzero(clip)[: shortest[0]] for clip in clips])
    target = np.stack([np.flatnonzero(~clip)[: shortest[1]] for clip in clips])
    return TubeMask(torch.from_numpy(context), torch.from_numpy(target))


def generators(seed: int):
    return np.random.default_rng(seed), [np.random.default_rng((seed, clip)) for clip in range(5)]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("settings", SETTINGS)
def test_even_masks_are_those_of_clip_by_clip(grid, settings):
    for seed in range(3):
        ours = MultiBlockTubes(**settings)(grid, *generators(seed))
        theirs = even_masks(grid, *generators(seed), **settings)
        assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("settings", [*SETTINGS, {"num_blocks": 4, "max_temporal_keep": 0.6}])
def test_reference_masks_are_those_of_clip_by_clip(grid, settings):
    for seed in range(3):
        ours = ReferenceMultiBlockTubes(**settings)(grid, *generators(seed))
        theirs = released_masks(grid, *generators(seed), **settings)
        assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))
