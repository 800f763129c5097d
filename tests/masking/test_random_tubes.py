"""Laws of random masks: exact counts, no overlap, even coverage, a clip's mask is its own."""

import numpy as np
import pytest
import torch

from vjepa.grid import TokenGrid
from vjepa.masking import RandomTokens, RandomTubes, TubeMask

GRID = TokenGrid(4, 4, 4)
strategies = pytest.mark.parametrize("strategy", [RandomTubes, RandomTokens])


def draw(strategy, step: int, num_clips: int = 4, grid: TokenGrid = GRID) -> TubeMask:
    clips = [np.random.default_rng((step, clip)) for clip in range(num_clips)]
    return strategy(grid, np.random.default_rng(step), clips)


@strategies
@pytest.mark.parametrize(("ratio", "num_hidden"), [(0.5, 32), (0.75, 48), (0.01, None), (0.99, None)])
def test_every_token_is_seen_or_hidden_once(strategy, ratio, num_hidden):
    mask = draw(strategy(ratio), step=0)
    both = torch.cat(mask, dim=1)
    assert torch.equal(both.sort(dim=1).values, torch.arange(64).expand(4, -1))
    assert all((ids.diff() > 0).all() and ids.dtype == torch.int64 for ids in mask)
    at_the_ends = {0.01: 1, 0.99: 63} if strategy is RandomTokens else {0.01: 4, 0.99: 60}
    assert mask.target_ids.shape[1] == (num_hidden or at_the_ends[ratio])


def test_tubes_hide_the_same_places_in_all_frames_and_tokens_do_not():
    for strategy, is_tube in ((RandomTubes(0.5), True), (RandomTokens(0.5), False)):
        hidden = torch.zeros(4, 64).scatter_(1, draw(strategy, step=1).target_ids, 1.0).view(4, *GRID)
        assert (hidden == hidden[:, :1]).all() == is_tube


@strategies
def test_coverage_is_even(strategy):
    draws, clips = 500, 4
    count = torch.zeros(64)
    for step in range(draws):
        count += torch.bincount(draw(strategy(0.75), step, clips).target_ids.flatten(), minlength=64)
    coverage = count / (draws * clips)
    assert (coverage - 0.75).abs().max() < 5 * (0.75 * 0.25 / (draws * clips)) ** 0.5


@strategies
def test_a_clip_has_the_same_mask_in_any_batch(strategy):
    whole = draw(strategy(0.5), step=3)
    alone = strategy(0.5)(GRID, np.random.default_rng(9), [np.random.default_rng((3, 2))])
    assert torch.equal(whole.target_ids[2:3], alone.target_ids)
    assert not torch.equal(whole.target_ids[0], whole.target_ids[1])


@strategies
def test_ratios_and_clips_without_room_are_refused(strategy):
    for ratio in (0.0, 1.0, -0.5):
        with pytest.raises(ValueError, match=rf"mask_ratio \({ratio}\) of the tokens to hide must lie between 0 and 1"):
            strategy(ratio)
    with pytest.raises(ValueError, match="at least 2 tokens"):
        draw(strategy(), step=0, grid=TokenGrid(1, 1, 1))
