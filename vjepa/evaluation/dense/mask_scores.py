"""Scores of masks: J and F as DAVIS defines them, IoU of classes, and intervals over videos.

DAVIS: Perazzi et al., CVPR 2016; for several objects Pont-Tuset et al., arXiv 1704.00675.
"""

from collections.abc import Callable
from math import ceil, hypot
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from vjepa.data.randomness import Purpose, generator_for
from vjepa.evaluation.probes.scores import RESAMPLES

BOUNDARY_TOLERANCE = 0.008  # of the frame's diagonal, as published


def region_similarity(predicted: Bool[np.ndarray, "... H W"], true: Bool[np.ndarray, "... H W"]) -> float:
    """J: intersection over union; 1 where both masks are empty."""
    union = np.count_nonzero(predicted | true)
    return np.count_nonzero(predicted & true) / union if union else 1.0


def boundary_measure(predicted: Bool[np.ndarray, "H W"], true: Bool[np.ndarray, "H W"]) -> float:
    """F: harmonic mean of the precision and the recall of boundary pixels.

    A boundary pixel counts as found where the other mask has one within ceil(0.008 x diagonal) pixels. A mask without a
    boundary has precision and recall 1 beside another one without, and 0 for F beside one with.
    """
    disk = disk_of(ceil(BOUNDARY_TOLERANCE * hypot(*true.shape)))
    found, wanted = boundary_of(predicted), boundary_of(true)
    if not found.any() or not wanted.any():
        return float(found.any() == wanted.any())
    precision = np.count_nonzero(found & dilated(wanted, disk)) / np.count_nonzero(found)
    recall = np.count_nonzero(wanted & dilated(found, disk)) / np.count_nonzero(wanted)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary_of(mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Pixels that differ from the one to the right, below, or diagonally below (inside the frame)."""
    below_right = np.pad(mask, (0, 1), mode="edge")
    right, below, diagonal = below_right[:-1, 1:], below_right[1:, :-1], below_right[1:, 1:]
    return (mask != right) | (mask != below) | (mask != diagonal)


def disk_of(radius: int) -> UInt8[np.ndarray, "D D"]:
    """All pixels whose centre is at most `radius` from the middle one."""
    rows, columns = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return (rows**2 + columns**2 <= radius**2).astype(np.uint8)


def dilated(mask: Bool[np.ndarray, "H W"], disk: UInt8[np.ndarray, "D D"]) -> Bool[np.ndarray, "H W"]:
    return cv2.dilate(mask.astype(np.uint8), disk).astype(bool)


def class_ious(confusion: Float[np.ndarray, "... K K"]) -> Float[np.ndarray, "... K"]:
    """IoU of each class from counts of true by predicted class; NaN for classes that neither has."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    union = confusion.sum(-1) + confusion.sum(-2) - hits
    return np.divide(hits, union, out=np.full(hits.shape, np.nan), where=union > 0)


def mean_iou(sums: Float[np.ndarray, "R K_K"]) -> Float[np.ndarray, " R"]:
    """mIoU of flattened counts of true by predicted class: the mean over classes that occur."""
    num_classes = round(sums.shape[-1] ** 0.5)
    return np.nanmean(class_ious(sums.reshape(-1, num_classes, num_classes)), axis=-1)


def last_class_iou(sums: Float[np.ndarray, "R K_K"]) -> Float[np.ndarray, " R"]:
    """IoU of the last class, the object's where the other class is background."""
    num_classes = round(sums.shape[-1] ** 0.5)
    return class_ious(sums.reshape(-1, num_classes, num_classes))[..., -1]


def mean_of_sums(sums: Float[np.ndarray, "R M"]) -> Float[np.ndarray, " R"]:
    """The mean from a sum (first column) and the number of its values (last column); NaN of none."""
    return np.divide(sums[:, 0], sums[:, -1], out=np.full(len(sums), np.nan), where=sums[:, -1] > 0)


class Score(NamedTuple):
    """A statistic over videos, with what the bootstrap makes of it."""

    value: float
    resampled: Float[np.ndarray, " resamples"]  # over the same draws of videos for all rows of a table

    @property
    def interval(self) -> tuple[float, float]:
        """95 % over videos that are drawn with replacement."""
        low, high = np.nanquantile(self.resampled, [0.025, 0.975])
        return float(low), float(high)

    def minus(self, other: "Score") -> "Score":
        """The difference on the same videos, with the interval of paired draws."""
        return Score(self.value - other.value, self.resampled - other.resampled)


def score(
    sums: Float[np.ndarray, "videos M"],
    statistic: Callable[[Float[np.ndarray, "R M"]], Float[np.ndarray, " R"]],
    seed: int = 0,
) -> Score:
    """A statistic of sums over videos (Efron 1979; videos and not frames are drawn, for frames of one are alike)."""
    counts = generator_for(seed, Purpose.BOOTSTRAP).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), RESAMPLES)
    resampled = statistic(counts @ sums)
    return Score(float(statistic(sums.sum(0, keepdims=True))[0]), resampled)
