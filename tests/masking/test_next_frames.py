"""Every frame is predicted from those before it."""

import numpy as np
import pytest

from vjepa.grid import TokenGrid
from vjepa.masking import NextFrames, next_frames_mask

GRID = TokenGrid(4, 2, 3)


def test_all_but_the_last_frame_are_seen_and_all_but_the_first_are_predicted():
    rng = np.random.default_rng(0)
    mask = NextFrames()(GRID, rng, [rng, rng])
    assert mask.context_ids.tolist() == [list(range(18))] * 2
    assert mask.target_ids.tolist() == [list(range(6, 24))] * 2
    assert next_frames_mask(GRID, 3).target_ids.tolist() == [list(range(18, 24))]


def test_clips_without_room_are_refused():
    with pytest.raises(ValueError, match=r"context_frames \(0\) must be at least 1"):
        NextFrames(0)
    with pytest.raises(ValueError, match=r"context_frames \(4\) must be fewer than the 4 frames of tokens"):
        next_frames_mask(GRID, 4)
