"""Labels saved: interpolation of the supervised line, and honest bounds beyond it."""

import pytest

from vjepa.evaluation.label_efficiency.labels_saved import labels_needed, labels_saved

LABELS = [5, 20, 100, 333]
ACCURACIES = [0.2, 0.3, 0.5, 0.7]


def test_on_the_line_the_labels_are_those_of_the_line():
    for count, accuracy in zip(LABELS, ACCURACIES, strict=True):
        assert labels_needed(accuracy, LABELS, ACCURACIES) == (pytest.approx(count), "")


def test_between_two_points_labels_are_interpolated_in_their_logarithm():
    assert labels_needed(0.4, LABELS, ACCURACIES).number == pytest.approx((20 * 100) ** 0.5)


def test_beyond_the_line_there_is_only_a_bound():
    assert labels_needed(0.71, LABELS, ACCURACIES) == (333, ">")
    assert labels_needed(0.1, LABELS, ACCURACIES) == (5, "<")


def test_more_labels_never_count_as_worse():
    falling = [0.2, 0.5, 0.4, 0.7]
    assert labels_needed(0.3, LABELS, falling) == labels_needed(0.3, [5, 20], [0.2, 0.5])
    assert labels_needed(0.6, LABELS, falling).number == pytest.approx((100 * 333) ** 0.5)


def test_labels_saved_are_a_geometric_mean_over_seeds_and_a_bound_where_one_seed_is():
    exact = labels_saved(5, [0.3, 0.5], LABELS, [ACCURACIES] * 2)
    assert exact.mean.number == pytest.approx((4 * 20) ** 0.5) and exact.mean.bound == ""
    assert exact.words == "8.9 × (4.0 to 20)"
    bounded = labels_saved(20, [0.5, 0.9], LABELS, [ACCURACIES] * 2)
    assert bounded.words == "more than 9.1 × (5.0 to more than 17)"
    assert labels_saved(333, [0.9], LABELS, [ACCURACIES]).words == "more than 1.0 ×"
