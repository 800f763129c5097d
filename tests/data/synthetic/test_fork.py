"""The fork: two futures of one past."""

import numpy as np
import pytest

from vjepa.data.synthetic.fork import (
    BALL_COLOURS,
    GROUND_COLOURS,
    NUM_FRAMES,
    PAST_FRAMES,
    SIZE,
    as_clip,
    ball_position,
    draw_fork,
    fork_clips,
    render_fork,
)


@pytest.mark.parametrize("seed", range(5))
def test_both_futures_share_the_past_exactly_and_nothing_after_it(seed):
    fork = draw_fork(np.random.default_rng(seed))
    left, right = (render_fork(fork, turn) for turn in ("left", "right"))
    assert left.shape == (NUM_FRAMES, SIZE, SIZE, 3) and left.dtype == np.uint8
    assert np.array_equal(left[:PAST_FRAMES], right[:PAST_FRAMES])
    assert all((left[frame] != right[frame]).any() for frame in range(PAST_FRAMES, NUM_FRAMES))


def test_the_ball_moves_and_stays_in_sight():
    for seed in range(50):
        fork = draw_fork(np.random.default_rng(seed))
        for turn in ("left", "right"):
            places = np.array([ball_position(fork, turn, frame) for frame in range(NUM_FRAMES)])
            np.testing.assert_allclose(np.hypot(*np.diff(places, axis=0).T), fork.pace)
            assert (places > 0).all() and (places < 1).all()
            assert (places[-1, 0] < 0.5) == (turn == "left")


def test_clips_are_a_function_of_seed_and_number():
    clips, forks, turns = fork_clips(3, [5, 900])
    again, _, _ = fork_clips(3, [900])
    assert np.array_equal(clips[1], again[0])
    assert np.array_equal(clips[0], as_clip(render_fork(forks[0], turns[0])))
    assert not np.array_equal(clips[0], fork_clips(4, [5])[0][0])


def test_turns_and_looks_are_drawn_evenly_and_independently():
    _, forks, turns = fork_clips(0, range(300))
    left = np.array([turn == "left" for turn in turns])
    assert 0.4 < left.mean() < 0.6
    for name, values in {"ball": BALL_COLOURS, "ground": GROUND_COLOURS}.items():
        for value in values:
            of_value = np.array([getattr(fork, name) == value for fork in forks])
            assert of_value.mean() > 0.5 / len(values)
            assert 0.25 < left[of_value].mean() < 0.75
