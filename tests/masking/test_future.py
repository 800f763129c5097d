"""Laws of future masks: the past is seen, what follows is predicted, and context lengths are equally likely."""

import numpy as np
import pytest
import torch

from vjepa.grid import TokenGrid
from vjepa.masking import FutureFrames, MaskStrategy, TubeMask, future_mask

GRID = TokenGrid(6, 2, 3)


def draw(strategy: MaskStrategy, step: int, num_clips: int = 4) -> TubeMask:
    return strategy(
        GRID, np.random.default_rng(step), [np.random.default_rng((step, clip)) for clip in range(num_clips)]
    )


def test_the_past_is_seen_and_what_follows_is_predicted():
    mask = future_mask(GRID, context_frames=2, predicted_frames=1, num_clips=3)
    assert mask.context_ids.tolist() == [list(range(12))] * 3
    assert mask.target_ids.tolist() == [list(range(12, 18))] * 3
    assert future_mask(GRID, context_frames=4).target_ids.tolist() == [list(range(24, 36))]


@pytest.mark.parametrize("predicted", [None, 2])
def test_every_clip_of_a_batch_has_the_same_counts_and_no_context_after_a_target(predicted):
    for step in range(20):
        context, target = draw(FutureFrames((1, 4), predicted), step)
        assert (context == context[0]).all() and (target == target[0]).all()
        assert context.max() + 1 == target.min() and (context.diff() == 1).all() and (target.diff() == 1).all()
        assert context.shape[0] == target.shape[0] == 4 and context.dtype == target.dtype == torch.int64
        assert target.shape[1] == (2 * 6 if predicted else GRID.num_tokens - context.shape[1])


def test_context_lengths_of_the_range_are_equally_likely_and_those_of_the_step_alone():
    strategy = FutureFrames((2, 4))
    lengths = [draw(strategy, step, num_clips=1).context_ids.shape[1] // 6 for step in range(900)]
    assert sorted(set(lengths)) == [2, 3, 4]
    assert all(abs(lengths.count(length) - 300) < 5 * (900 * 2 / 9) ** 0.5 for length in (2, 3, 4))
    assert torch.equal(draw(strategy, 7, num_clips=4).context_ids[:1], draw(strategy, 7, num_clips=1).context_ids)


def test_ranges_and_windows_without_room_are_refused():
    for least, most in ((0, 2), (3, 2)):
        with pytest.raises(ValueError, match=rf"context_frames \({least}, {most}\) must be a range"):
            FutureFrames((least, most))
    # Whatever length is drawn: a recipe fails before its first step, not in the middle of a run.
    with pytest.raises(ValueError, match=r"context_frames \(6\) and predicted_frames \(0\) must each be at least 1"):
        draw(FutureFrames((1, 6)), step=0)
    with pytest.raises(ValueError, match=r"context_frames \(4\) and predicted_frames \(3\) .* at most the 6 frames"):
        draw(FutureFrames((4, 4), predicted_frames=3), step=0)
    with pytest.raises(ValueError, match=r"predicted_frames \(0\)"):
        draw(FutureFrames(predicted_frames=0), step=0)
