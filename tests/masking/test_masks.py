"""Laws of masks: no overlap, equal counts, even coverage; and the released generator's statistics."""

import numpy as np
import pytest
import torch

from tests.parity.golden import Case, cases
from vjepa.grid import TokenGrid
from vjepa.masking import MultiBlockTubes, ReferenceMultiBlockTubes
from vjepa.masking.multi_block import block_size, expected_coverage

GRID = TokenGrid(8, 16, 16)
SHORT_RANGE = {"num_blocks": 8, "spatial_scale": (0.15, 0.15)}
LONG_RANGE = {"num_blocks": 2, "spatial_scale": (0.7, 0.7)}
STRATEGIES = [MultiBlockTubes, ReferenceMultiBlockTubes]
KINDS = pytest.mark.parametrize("kind", [SHORT_RANGE, LONG_RANGE], ids=["short range", "long range"])


def draw(strategy, step: int, num_clips: int = 4, grid: TokenGrid = GRID):
    clips = [np.random.default_rng((step, clip)) for clip in range(num_clips)]
    return strategy(grid, np.random.default_rng(step), clips)


@KINDS
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_context_and_target_ids_never_overlap_and_ascend(strategy, kind):
    for step in range(20):
        mask = draw(strategy(**kind), step)
        for context, target in zip(*mask, strict=True):
            both = torch.cat((context, target))
            assert len(both.unique()) == len(both)
            assert both.min() >= 0 and both.max() < GRID.num_tokens
            assert (context.diff() > 0).all() and (target.diff() > 0).all()


@KINDS
def test_even_masks_waste_no_token(kind):
    mask = draw(MultiBlockTubes(**kind), step=0)
    assert mask.context_ids.shape[1] + mask.target_ids.shape[1] == GRID.num_tokens


@KINDS
def test_even_masks_are_tubes(kind):
    target = draw(MultiBlockTubes(**kind), step=1).target_ids
    hidden = torch.zeros(4, GRID.num_tokens).scatter_(1, target, 1.0).view(4, *GRID)
    assert (hidden == hidden[:, :1]).all()


@KINDS
def test_coverage_is_even_over_time_and_space_in_1000_draws(kind):
    strategy, draws, clips = MultiBlockTubes(**kind), 1000, 2
    count = torch.zeros(2, GRID.num_tokens)
    for step in range(draws):
        for number, ids in enumerate(draw(strategy, step, clips)):
            count[number] += torch.bincount(ids.flatten(), minlength=GRID.num_tokens)
    for coverage in (count / (draws * clips)).view(2, *GRID):
        first, last = coverage[0].mean(), coverage[-1].mean()
        assert abs(last / first - 1) < 0.05
        mean = coverage.mean()
        # 6 standard errors of a share over 2,000 clips, each with one value per place
        bound = 6 * (mean * (1 - mean) / (draws * clips)) ** 0.5
        assert (coverage.mean(dim=0) - mean).abs().max() < bound


def test_short_blocks_in_time_are_covered_evenly_too():
    strategy = MultiBlockTubes(num_blocks=4, spatial_scale=(0.3, 0.5), temporal_scale=(0.3, 0.6))
    count = torch.zeros(GRID.num_tokens)
    for step in range(1000):
        count += torch.bincount(draw(strategy, step, 2).target_ids.flatten(), minlength=GRID.num_tokens)
    by_frame = count.view(*GRID).mean(dim=(1, 2))
    assert by_frame.max() / by_frame.min() < 1.05


def test_a_clip_has_the_same_mask_in_any_batch():
    strategy = MultiBlockTubes(**SHORT_RANGE)
    whole = draw(strategy, step=3, num_clips=4)
    alone = strategy(GRID, np.random.default_rng(3), [np.random.default_rng((3, 2))])
    assert torch.equal(whole.target_ids[2:3], alone.target_ids)


def test_the_number_of_targets_is_the_mean_of_blocks_inside_the_clip():
    block, num_blocks, generator = (8, 6, 7), 8, np.random.default_rng(0)
    sizes = []
    for _ in range(4000):
        hidden = np.zeros((16, 16), dtype=bool)
        for top, left in zip(generator.integers(0, 11, num_blocks), generator.integers(0, 10, num_blocks), strict=True):
            hidden[top : top + 6, left : left + 7] = True
        sizes.append(hidden.sum() * 8)
    error = np.std(sizes) / len(sizes) ** 0.5
    assert abs(expected_coverage(GRID, block, num_blocks) - np.mean(sizes)) < 4 * error + 0.5


# Grid, scale and block sizes for seeds 0 to 7, by running the released generator.
RELEASED_BLOCKS = [
    (TokenGrid(8, 16, 16), 0.15, [(6, 7), (6, 6), (7, 6), (6, 6), (6, 7), (7, 5), (8, 5), (7, 6)]),
    (TokenGrid(8, 16, 16), 0.7, [(12, 15), (14, 13), (15, 12), (13, 14), (12, 15), (16, 11), (16, 11), (15, 12)]),
    (TokenGrid(32, 24, 24), 0.15, [(8, 10), (10, 9), (10, 8), (9, 9), (8, 10), (11, 8), (11, 8), (10, 8)]),
    (TokenGrid(32, 24, 24), 0.7, [(18, 22), (21, 20), (22, 18), (20, 20), (18, 22), (24, 17), (24, 16), (22, 18)]),
    (TokenGrid(1, 16, 16), 0.15, [(6, 7), (6, 6), (7, 6), (6, 6), (6, 7), (7, 5), (8, 5), (7, 6)]),
]


@pytest.mark.parametrize(("grid", "scale", "expected"), RELEASED_BLOCKS)
def test_block_sizes_follow_the_released_rule(grid, scale, expected):
    for seed, (height, width) in enumerate(expected):
        generator = torch.Generator().manual_seed(seed)
        uniforms = tuple(torch.rand(1, generator=generator).item() for _ in range(3))
        assert block_size(grid, (1.0, 1.0), (scale, scale), (0.75, 1.5), uniforms) == (grid.frames, height, width)


@cases("mask_token_counts*")
def test_reference_masks_keep_as_many_tokens_as_the_released_generator(case: Case):
    settings = case.settings
    grid, num_clips = TokenGrid(*settings["grid"]), settings["batch_size"]
    for number, mask in enumerate(settings["masks"]):
        strategy = ReferenceMultiBlockTubes(
            mask["num_blocks"],
            tuple(mask["spatial_scale"]),
            tuple(mask["temporal_scale"]),
            tuple(mask["aspect_ratio"]),
            mask.get("max_temporal_keep", 1.0),
        )
        drawn = [draw(strategy, step, num_clips, grid) for step in range(300)]
        for name, counts in (
            (f"context_tokens_{number}", [mask.context_ids.shape[1] for mask in drawn]),
            (f"target_tokens_{number}", [mask.target_ids.shape[1] for mask in drawn]),
        ):
            theirs = case.tensors[name].double()
            ours = torch.tensor(counts, dtype=torch.float64)
            error = (theirs.var() / len(theirs) + ours.var() / len(ours)).sqrt()
            assert abs(ours.mean() - theirs.mean()) < 4 * error, name


def test_reference_masks_starve_the_last_frames():
    """The bias that the even masks exist for; a reference mode without it would not be the reference."""
    target = draw(ReferenceMultiBlockTubes(**SHORT_RANGE), step=0, num_clips=24).target_ids
    by_frame = torch.bincount(target.flatten() // 256, minlength=8)
    assert by_frame[-1] < 0.3 * by_frame[0]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_impossible_masks_are_refused(strategy):
    with pytest.raises(ValueError, match=r"num_blocks .300. must be at most the number of tokens per frame .256."):
        draw(strategy(num_blocks=300), step=0)
    with pytest.raises(ValueError, match="at least 2 tokens per frame"):
        draw(strategy(num_blocks=1), step=0, grid=TokenGrid(8, 1, 1))
    with pytest.raises(ValueError, match="spatial_scale"):
        strategy(spatial_scale=(0.0, 1.5))


def test_reference_mask_refuses_a_block_as_large_as_the_clip():
    with pytest.raises(ValueError, match="leaves no context"):
        draw(ReferenceMultiBlockTubes(spatial_scale=(1.0, 1.0), aspect_ratio=(1.0, 1.0)), step=0)
