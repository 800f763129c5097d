"""J, F and mIoU against hand-computed cases, against their definitions, and against torchmetrics."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_confusion_matrix, multiclass_jaccard_index

from vjepa.evaluation.dense.mask_scores import (
    boundary_measure,
    boundary_of,
    disk_of,
    last_class_iou,
    mean_iou,
    mean_of_sums,
    region_similarity,
    score,
)


def box(top: int, left: int, height: int, width: int, size: tuple[int, int] = (12, 12)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = True
    return mask


EMPTY = np.zeros((12, 12), bool)


def test_region_similarity_of_cases_counted_by_hand():
    assert region_similarity(box(0, 0, 4, 4), box(0, 2, 4, 4)) == pytest.approx(8 / 24)
    assert region_similarity(box(1, 1, 3, 3), box(1, 1, 3, 3)) == 1.0
    assert region_similarity(box(0, 0, 2, 2), box(6, 6, 2, 2)) == 0.0
    assert (region_similarity(EMPTY, EMPTY), region_similarity(EMPTY, box(0, 0, 1, 1))) == (1.0, 0.0)


def test_a_boundary_lies_towards_the_upper_left_of_the_edge_and_not_along_the_frame():
    """The published map: pixels that differ from the one to the right, below or diagonally below."""
    expected = np.zeros((4, 4), bool)
    expected[[0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = True
    assert (boundary_of(box(1, 1, 2, 2, (4, 4))) == expected).all()
    assert not boundary_of(np.ones((4, 4), bool)).any()
    along = boundary_of(box(0, 0, 2, 4, (4, 4)))  # an edge that ends at the frame's right side
    assert along[1].all() and along.sum() == 4


def test_boundary_measure_of_cases_counted_by_hand():
    """In a frame of 12 x 12 the tolerance is ceil(0.008 * 16.97) = 1 pixel."""
    assert boundary_measure(box(3, 3, 5, 5), box(3, 3, 5, 5)) == 1.0
    assert boundary_measure(box(3, 3, 5, 5), box(3, 4, 5, 5)) == 1.0  # a pixel aside is within the tolerance
    assert boundary_measure(box(0, 0, 2, 2), box(8, 8, 3, 3)) == 0.0
    assert (boundary_measure(EMPTY, EMPTY), boundary_measure(EMPTY, box(3, 3, 2, 2))) == (1.0, 0.0)
    assert boundary_measure(box(3, 3, 2, 2), EMPTY) == 0.0
    # Half planes whose edges are 0 and 5 columns apart: every second boundary pixel is found, and all of the true ones.
    two_edges = box(0, 0, 12, 3) | box(0, 7, 12, 5)
    assert boundary_measure(two_edges, box(0, 0, 12, 3)) == pytest.approx(2 * 0.5 * 1 / 1.5)


def test_the_tolerance_grows_with_the_diagonal():
    """A frame of 240 x 428 has one of ceil(0.008 * 490.7) = 4 pixels."""
    near, far = ((box(60, left, 100, 100, (240, 428))) for left in (104, 105))
    true = box(60, 100, 100, 100, (240, 428))
    assert boundary_measure(near, true) == 1.0 and boundary_measure(far, true) < 1.0


def test_boundary_measure_is_its_definition_pixel_by_pixel():
    generator = np.random.default_rng(0)
    for _ in range(5):
        predicted, true = (generator.random((40, 150)) < 0.02 for _ in range(2))
        radius = int(np.ceil(0.008 * np.hypot(40, 150)))
        assert radius == 2
        found, wanted = (np.argwhere(boundary_of(mask)) for mask in (predicted, true))
        near = ((found[:, None] - wanted[None]) ** 2).sum(-1) <= radius**2
        precision, recall = near.any(1).mean(), near.any(0).mean()
        expected = 2 * precision * recall / (precision + recall)
        assert boundary_measure(predicted, true) == pytest.approx(expected) and 0.05 < expected < 0.95


def test_a_disk_holds_what_is_within_its_radius():
    assert disk_of(1).tolist() == [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    assert disk_of(2).sum() == 13


def test_mean_iou_counted_by_hand_and_by_torchmetrics():
    true, predicted = torch.tensor([0, 0, 0, 1, 1, -1]), torch.tensor([0, 0, 1, 1, 0, 1])
    confusion = multiclass_confusion_matrix(predicted, true, 3, ignore_index=-1)  # class 2 does not occur
    sums = confusion.flatten()[None].double().numpy()
    assert mean_iou(sums)[0] == pytest.approx((2 / 4 + 1 / 3) / 2)
    assert mean_iou(sums)[0] == pytest.approx(
        float(multiclass_jaccard_index(predicted, true, 3, ignore_index=-1)), abs=1e-6
    )
    assert last_class_iou(np.array([[2.0, 1.0, 1.0, 1.0]]))[0] == pytest.approx(1 / 3)


def test_an_interval_is_over_videos_and_of_differences_over_the_same_draws():
    values = np.array([[0.2, 1.0], [0.4, 1.0], [0.9, 1.0], [0.5, 1.0]])
    found = score(values, mean_of_sums)
    assert found.value == pytest.approx(0.5)
    low, high = found.interval
    assert 0.2 <= low < 0.5 < high <= 0.9
    higher = score(values + np.array([0.1, 0.0]), mean_of_sums)
    gap = higher.minus(found)
    assert gap.value == pytest.approx(0.1) and gap.interval == pytest.approx((0.1, 0.1))
    assert score(values[:1], mean_of_sums).interval == pytest.approx((0.2, 0.2))


def test_a_video_counts_by_its_objects():
    """Two objects in one video and one in another: the mean is over three objects; a video without any has no part."""
    assert score(np.array([[0.2 + 0.4, 2.0], [0.9, 1.0], [0.0, 0.0]]), mean_of_sums).value == pytest.approx(0.5)
