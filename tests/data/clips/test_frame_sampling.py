"""Which frames make a clip: inside the file, at the asked rate, from any start, by time where the rate varies."""

from dataclasses import replace

import numpy as np
import pytest

from vjepa.data.clips.frame_sampling import FrameSampling, window_of
from vjepa.data.video.facts import VideoError, VideoFacts

UNIFORMS = [0.0, 0.3, 0.999999]
RATES = [{"fps": 4.0}, {"frame_step": 3}, {"duration": 2.5}]


def video(num_frames: int, fps: float, times=None) -> VideoFacts:
    return VideoFacts(num_frames, fps, 32, 32, times=None if times is None else np.asarray(times, float))


def of_varying_rate(num_frames: int, seed: int = 0) -> VideoFacts:
    """A file whose frames come at 10 to 100 per second, the first at 3 s on the file's clock."""
    times = 3 + np.cumsum(np.random.default_rng(seed).uniform(0.01, 0.1, num_frames))
    return video(num_frames, float((num_frames - 1) / (times[-1] - times[0])), times)


# --- evenly timed files


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("start", UNIFORMS)
@pytest.mark.parametrize("file_frames", [1, 3, 15, 16, 40, 300])
@pytest.mark.parametrize("file_fps", [2.0, 24.0, 29.97, 60.0])
def test_frame_ids_stay_inside_the_file_and_ascend(file_frames, file_fps, start, rate):
    ids = FrameSampling(16, **rate).frame_ids(video(file_frames, file_fps), start)
    assert ids.shape == (16,) and ids.dtype == np.int64
    assert ids.min() >= 0 and ids.max() < file_frames
    assert (np.diff(ids) >= 0).all()


def test_frame_ids_keep_the_asked_rate():
    facts = video(300, 30.0)
    ids = FrameSampling(16, fps=4.0).frame_ids(facts, 0.0)
    assert ids[0] == 0 and ids[-1] == 112 and set(np.diff(ids)) == {7, 8}
    assert FrameSampling(4, frame_step=2).frame_ids(facts, 0.5).tolist() == [147, 149, 151, 153]
    assert FrameSampling(4, frame_step=1.5).frame_ids(facts, 0.0).tolist() == [0, 1, 3, 4]


def test_a_duration_is_the_rate_that_spreads_the_clip_over_it():
    facts = video(300, 30.0)
    for start in UNIFORMS:
        by_duration = FrameSampling(16, duration=4.0).frame_ids(facts, start)
        assert (by_duration == FrameSampling(16, fps=4.0).frame_ids(facts, start)).all()


@pytest.mark.parametrize("rate", [{"fps": 15.0}, {"frame_step": 2}, {"duration": 4 / 15}])
def test_every_start_of_a_clip_is_possible_and_equally_likely(rate):
    starts = [int(FrameSampling(4, **rate).frame_ids(video(10, 30.0), u)[0]) for u in (np.arange(200) + 0.5) / 200]
    assert np.bincount(starts).tolist() == [50, 50, 50, 50]


@pytest.mark.parametrize("rate", [{"fps": 4.0}, {"frame_step": 8}, {"duration": 4.0}])
def test_a_short_file_has_no_frozen_tail(rate):
    ids = FrameSampling(16, **rate).frame_ids(video(40, 30.0), 0.7)
    assert ids[0] == 0 and ids[-1] == 39 and np.diff(ids).min() >= 2


@pytest.mark.parametrize("start", UNIFORMS)
def test_a_file_slower_than_the_clip_repeats_each_frame(start):
    ids = FrameSampling(16, fps=8.0).frame_ids(video(100, 2.0), start)
    assert np.unique(ids, return_counts=True)[1].tolist() == [4, 4, 4, 4]


def test_a_clip_as_long_as_the_file_starts_at_its_first_frame_only():
    for start in UNIFORMS:
        assert FrameSampling(8, frame_step=1).frame_ids(video(8, 30.0), start).tolist() == list(range(8))


def test_a_single_frame_may_be_any_frame():
    ids = {int(FrameSampling(1, frame_step=1).frame_ids(video(5, 30.0), u)[0]) for u in np.linspace(0, 0.9999, 50)}
    assert ids == set(range(5))


# --- files whose rate varies


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("file_frames", [2, 3, 16, 40, 300])
def test_frame_ids_of_a_varying_rate_stay_inside_the_file_and_ascend(file_frames, rate):
    facts = of_varying_rate(file_frames)
    for start in UNIFORMS:
        ids = FrameSampling(16, **rate).frame_ids(facts, start)
        assert ids.shape == (16,) and ids.min() >= 0 and ids.max() < file_frames
        assert (np.diff(ids) >= 0).all()


@pytest.mark.parametrize("rate", [{"fps": 5.0}, {"duration": 1.6}])
def test_a_varying_rate_is_sampled_by_the_times_of_its_frames(rate):
    facts = of_varying_rate(300)
    assert facts.times is not None
    longest = np.diff(facts.times).max()
    for start in UNIFORMS:
        ids = FrameSampling(8, **rate).frame_ids(facts, start)
        shown = facts.times[ids]
        # Each frame is the latest that is shown at its time, so it is late by less than one frame's length.
        assert np.abs(shown - shown[0] - np.arange(8) / 5).max() < longest


def test_a_frame_that_stays_long_is_shown_long():
    facts = video(5, 4 / 1.3, times=[0.0, 0.1, 0.2, 1.2, 1.3])
    ids = FrameSampling(13, fps=10.0).frame_ids(facts, 0.0)
    assert ids.tolist() == [0, 1, *[2] * 10, 3]


def test_a_frame_step_counts_frames_whatever_their_times():
    facts = of_varying_rate(40)
    even = replace(facts, times=None)
    for start in UNIFORMS:
        sampling = FrameSampling(8, frame_step=3)
        assert (sampling.frame_ids(facts, start) == sampling.frame_ids(even, start)).all()


EVEN_FILES = [(frames, fps, start) for frames in (3, 40, 300) for fps in (24.0, 30.0, 60.0) for start in UNIFORMS]


@pytest.mark.parametrize(("file_frames", "file_fps", "start"), EVEN_FILES)
def test_a_varying_rate_with_even_times_gives_what_the_arithmetic_gives(file_frames, file_fps, start):
    even = video(file_frames, file_fps)
    timed = replace(even, times=3 + np.arange(file_frames) / file_fps)
    for rate in ({"fps": 6.0}, {"duration": 8 / 6}, {"fps": 3.0}):  # whole numbers of the file's frames
        sampling = FrameSampling(8, **rate)
        assert (sampling.frame_ids(even, start) == sampling.frame_ids(timed, start)).all()


def test_even_times_give_what_the_arithmetic_gives_for_steps_with_a_fraction_too():
    for file_frames, file_fps, start in EVEN_FILES:
        even = video(file_frames, file_fps)
        timed = replace(even, times=3 + np.arange(file_frames) / file_fps)
        for fps in (7.0, 11.0, 100.0):
            sampling = FrameSampling(8, fps=fps)
            assert (sampling.frame_ids(even, start) == sampling.frame_ids(timed, start)).all()


# --- jitter


@pytest.mark.parametrize("facts", [video(100, 30.0), video(5, 30.0), of_varying_rate(100)])
@pytest.mark.parametrize("rate", RATES)
def test_jitter_stays_inside_the_window_and_follows_from_the_generator(facts, rate):
    sampling = FrameSampling(8, **rate, temporal_jitter=1.0)
    window = (2, 30) if facts.num_frames > 30 else (1, 4)
    for seed in range(50):
        for start in UNIFORMS:
            ids = sampling.frame_ids(facts, start, window, np.random.default_rng(seed))
            assert ids.min() >= window[0] and ids.max() < window[1] and (np.diff(ids) >= 0).all()
            assert (ids == sampling.frame_ids(facts, start, window, np.random.default_rng(seed))).all()


def test_jitter_moves_each_frame_by_at_most_its_share_of_half_a_step():
    facts = video(1000, 30.0)
    plain = FrameSampling(8, frame_step=20).frame_ids(facts, 0.5)
    sampling = FrameSampling(8, frame_step=20, temporal_jitter=0.5)
    moves = np.array([sampling.frame_ids(facts, 0.5, None, np.random.default_rng(k)) - plain for k in range(200)])
    assert moves.min() == -5 and moves.max() in (4, 5)  # half a step of 20, times the share, to the frame below
    assert (moves.std(axis=0) > 1).all()  # each frame for itself


def test_without_a_generator_or_a_share_nothing_is_moved_and_nothing_drawn():
    facts = video(1000, 30.0)
    plain = FrameSampling(8, frame_step=20).frame_ids(facts, 0.5)
    assert (FrameSampling(8, frame_step=20, temporal_jitter=1.0).frame_ids(facts, 0.5) == plain).all()
    generator = np.random.default_rng(0)
    assert (FrameSampling(8, frame_step=20).frame_ids(facts, 0.5, None, generator) == plain).all()
    assert generator.random() == np.random.default_rng(0).random()


# --- windows


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("facts", [video(100, 30.0), of_varying_rate(100)])
def test_a_clip_of_a_window_holds_no_other_frame(facts, rate):
    for window in [(0, 100), (40, 41), (40, 44), (70, 100)]:
        for start in UNIFORMS:
            ids = FrameSampling(4, **rate).frame_ids(facts, start, window)
            assert ids.min() >= window[0] and ids.max() < window[1]


def test_a_window_is_sampled_like_a_file_of_its_length():
    sampling = FrameSampling(4, frame_step=5)
    for start in UNIFORMS:
        inside = sampling.frame_ids(video(100, 30.0), start, (40, 70))
        assert (inside - 40 == sampling.frame_ids(video(30, 30.0), start)).all()


@pytest.mark.parametrize(
    ("start", "end", "window"),
    [
        (None, None, (0, 30)),
        (1.0, 2.0, (10, 20)),
        (0.95, 2.05, (10, 21)),  # a frame belongs to a window if it begins in it
        (None, 0.5, (0, 5)),
        (2.5, None, (25, 30)),
        (-5.0, 100.0, (0, 30)),  # outside the file count its ends
        (2.95, 200.0, (29, 30)),  # at least one frame
        (1.0, 1.05, (10, 11)),
    ],
)
def test_window_of_gives_the_frames_between_two_times(start, end, window):
    facts = video(30, 10.0)
    assert window_of(facts, start, end) == window
    assert window_of(replace(facts, first_time=7.0), start, end) == window  # seconds count from the first frame
    assert window_of(replace(facts, times=7 + np.arange(30) / 10), start, end) == window


@pytest.mark.parametrize("start", [3.0, 100.0])
def test_a_window_after_the_file_s_end_is_an_error_and_no_frozen_frame(start):
    for facts in (video(30, 10.0), video(30, 10.0, times=(np.arange(30) / 10).tolist())):
        with pytest.raises(VideoError, match=rf"its part starts at {start:g} s, and the file ends at 3.000 s"):
            window_of(facts, start, None)


def test_window_of_a_varying_rate_goes_by_the_times_of_frames():
    facts = video(5, 4 / 1.3, times=[5.0, 5.1, 5.2, 6.2, 6.3])
    assert window_of(facts, 0.15, 1.25) == (2, 4)
    assert window_of(facts, 0.3, None) == (3, 5)


# --- what a clip covers, and what is refused


def test_seconds_are_what_a_clip_covers_and_at_most_the_file():
    facts = video(300, 30.0)
    assert FrameSampling(16, fps=4.0).seconds(facts, (0, 300)) == pytest.approx(4.0)
    assert FrameSampling(16, frame_step=3).seconds(facts, (0, 300)) == pytest.approx(1.6)
    assert FrameSampling(16, duration=2.5).seconds(facts, (0, 300)) == pytest.approx(2.5)
    assert FrameSampling(16, fps=1.0).seconds(facts, (0, 300)) == pytest.approx(10.0)
    assert FrameSampling(16, fps=4.0).seconds(facts, (30, 60)) == pytest.approx(1.0)
    image = VideoFacts(num_frames=1, fps=1.0, width=8, height=8, container="image")
    assert FrameSampling(16, fps=4.0).seconds(image, (0, 1)) == 0


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({}, r"give exactly one of fps \(None\) and frame_step \(None\) and duration \(None\)"),
        ({"fps": 4.0, "frame_step": 2}, r"give exactly one of fps \(4.0\) and frame_step \(2\)"),
        ({"fps": 4.0, "duration": 2.0}, r"give exactly one of .* and duration \(2.0\)"),
        ({"fps": 0.0}, r"fps \(0.0\) must be more than 0"),
        ({"frame_step": -1}, r"frame_step \(-1\) must be more than 0"),
        ({"duration": float("inf")}, r"duration \(inf\) must be more than 0"),
        ({"fps": float("nan")}, r"fps \(nan\) must be more than 0"),
        ({"fps": 4.0, "temporal_jitter": 1.5}, r"temporal_jitter \(1.5\) must be between 0 and 1"),
        ({"fps": 4.0, "num_frames": 0}, r"num_frames \(0\) must be at least 1"),
    ],
)
def test_a_sampling_of_no_use_is_refused(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        FrameSampling(**{"num_frames": 16, **setting})
