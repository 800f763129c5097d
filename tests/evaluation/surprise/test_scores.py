"""Scores of surprise against cases that are counted by hand."""

import numpy as np
import pytest
import torch

from vjepa.evaluation.surprise.scores import PairScores, mean_scores, moment, odd_surprises, verdicts
from vjepa.evaluation.surprise.windows import PastWindows, assembled, pooled, setting_names

PLAIN = np.array([1.0, 2.0, 3.0, 4.0])
ODD = np.array([2.0, 2.0, 5.0, 0.0])


def score_pairs(plain: np.ndarray, odd: np.ndarray, seed: int = 0) -> PairScores:
    return mean_scores([np.stack((plain, odd), axis=1)], seed)


def test_ties_count_half():
    assert odd_surprises(PLAIN, ODD).tolist() == [1.0, 0.5, 1.0, 0.0]
    scores = score_pairs(PLAIN, ODD)
    assert scores.accuracy == 2.5 / 4
    # Of 16 comparisons: 2 > 1, 2 = 2 (odd 1 and 2 each), 5 > all four, 0 > none: (1.5 + 1.5 + 4 + 0) / 16.
    assert scores.auroc == pytest.approx(7 / 16)
    low, high = scores.accuracy_interval
    assert 0 <= low < scores.accuracy < high <= 1


def test_auroc_does_not_depend_on_the_scale_of_surprise():
    for scale in (1e-9, 1.0, 1e6):
        assert score_pairs(scale * PLAIN - 3 * scale, scale * ODD - 3 * scale).auroc == pytest.approx(7 / 16)


def test_intervals_are_those_of_the_seed_and_shrink_with_pairs():
    assert score_pairs(PLAIN, ODD, 1) == score_pairs(PLAIN, ODD, 1)
    few, many = (score_pairs(np.tile(PLAIN, n), np.tile(ODD, n)).accuracy_interval for n in (2, 50))
    assert many[1] - many[0] < few[1] - few[0]
    assert score_pairs(PLAIN, PLAIN + 1).accuracy_interval == (1.0, 1.0)


def test_the_mean_weighs_properties_alike():
    few, many = np.array([[1.0, 2.0]]), np.tile([[2.0, 1.0], [4.0, 3.0]], (10, 1))
    found = mean_scores([few, many])
    assert found.accuracy == 0.5 and found.accuracy_interval == (0.5, 0.5)


def test_the_moment_is_the_middle_of_the_frames_that_share_the_peak():
    ids = np.arange(0, 12, 2)
    assert moment(np.array([np.nan, 1, 3, 3, 2, np.nan]), ids) == 5.0
    assert moment(np.array([np.nan, 1, 1, 1, 1, np.nan]), ids) is None and moment(np.full(6, np.nan), ids) is None


def test_a_value_on_a_threshold_is_below_it():
    assert verdicts(np.array([0.5, 1.0, 1.5, 2.0, 2.5]), np.array([1.0, 2.0])).tolist() == [0, 0, 1, 1, 2]


def test_windows_end_with_the_clip_and_a_short_clip_is_refused():
    windows = PastWindows(4, (2,), stride=3)
    assert windows.starts(10).tolist() == [0, 3, 6] and windows.starts(9).tolist() == [0, 3, 5]
    with pytest.raises(ValueError, match="it has 3 frames at this rate, fewer than a window of 4"):
        windows.starts(3)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"context_lengths": (16,)},
            r"context_lengths \(\[16\]\) must each be from 1 to below the window's num_frames",
        ),
        ({"context_lengths": ()}, "must each be from 1"),
        ({"stride": 0}, r"windows.stride \(0\) must be at least 1"),
    ],
)
def test_windows_that_are_none_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        PastWindows(**settings)


def test_contexts_must_be_whole_tubelets():
    with pytest.raises(ValueError, match=r"windows.context_lengths \(3\) must be a multiple of the tubelet's 2 frames"):
        PastWindows(8, (2, 3)).require_tubelets(2)


def test_a_curve_is_the_mean_over_the_windows_that_predict_a_frame():
    """Two windows of four frames at 0 and 1, a context of two, one number for each predicted frame, one place."""
    errors = torch.tensor([[1.0, 2.0], [4.0, 8.0]]).unsqueeze(-1)  # (W, T, P)
    found = assembled([pooled(errors)], torch.tensor([0, 1]), [2], 1, 6)
    assert setting_names(["context 2"]) == [
        f"context 2, {which} of tokens" for which in ("mean", "top tenth", "largest")
    ]
    assert found.windows.tolist() == [[1.5, 6.0]] * 3
    nan = float("nan")
    expected = torch.tensor([nan, nan, 1.0, (2.0 + 4.0) / 2, 8.0, nan])
    torch.testing.assert_close(found.curve, torch.stack([expected] * 3), equal_nan=True)


def test_a_tubelet_s_error_is_that_of_its_frames_and_the_least_context_counts():
    short = pooled(torch.tensor([[[1.0], [5.0]]]))  # one window, two tubelets after a context of 2
    long = pooled(torch.tensor([[[3.0]]]))  # one tubelet after a context of 4
    found = assembled([short, long], torch.tensor([0]), [2, 4], 2, 6)
    assert found.windows[:, 0].tolist() == [3.0] * 9
    nan = float("nan")
    expected = torch.tensor([[nan, nan, 1, 1, 5, 5], [nan, nan, nan, nan, 3, 3], [nan, nan, 1, 1, 3, 3]])
    torch.testing.assert_close(found.curve[::3], expected, equal_nan=True)


def test_the_top_tenth_and_the_largest_are_those_of_the_places_of_each_frame():
    errors = torch.arange(20.0).view(1, 1, 20)
    assert pooled(errors)[:, 0, 0].tolist() == [9.5, 18.5, 19.0]
