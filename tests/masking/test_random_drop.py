"""Laws of dropped tokens: exact counts, even coverage, and a view's tokens are its own."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from vjepa.grid import TokenGrid
from vjepa.masking import kept_tokens

GRID = TokenGrid(4, 4, 4)


def draw(keep_ratio: float, views: int, clips: Sequence[int] = range(3), grid: TokenGrid = GRID) -> torch.Tensor:
    return kept_tokens(grid, keep_ratio, [np.random.default_rng((7, clip)) for clip in clips], views)


@pytest.mark.parametrize(
    ("keep_ratio", "num_kept"), [(0.001, 1), (0.05, 3), (0.25, 16), (0.5, 32), (0.9, 58), (0.999, 64), (1.0, 64)]
)
def test_each_view_keeps_the_asked_fraction_each_token_once(keep_ratio, num_kept):
    ids = draw(keep_ratio, views=5)
    assert ids.shape == (15, num_kept) and ids.dtype == torch.int64
    assert (ids.diff() > 0).all() and ids.min() >= 0 and ids.max() < 64


@pytest.mark.parametrize("keep_ratio", [0.25, 0.75])
def test_every_set_of_tokens_is_equally_likely(keep_ratio):
    clips, views, grid = 500, 12, TokenGrid(2, 2, 1)
    sets = draw(keep_ratio, views, range(clips), grid).tolist()
    assert len({tuple(ids) for ids in sets}) == 4  # 1 of 4, or 3 of 4
    counts = np.unique(sets, axis=0, return_counts=True)[1] / len(sets)
    assert np.abs(counts - 0.25).max() < 5 * (0.25 * 0.75 / len(sets)) ** 0.5
    pairs = draw(0.5, views, range(clips), grid).tolist()
    counts = np.unique(pairs, axis=0, return_counts=True)[1] / len(pairs)
    assert len(counts) == 6 and np.abs(counts - 1 / 6).max() < 5 * (5 / 36 / len(pairs)) ** 0.5


def test_a_view_depends_on_its_clip_and_number_alone():
    whole = draw(0.25, views=4)
    assert torch.equal(whole[8:], draw(0.25, views=4, clips=[2]))
    assert torch.equal(whole[8:10], draw(0.25, views=2, clips=[2]))  # more views change no earlier one
    assert len({tuple(ids) for ids in whole.tolist()}) == 12
