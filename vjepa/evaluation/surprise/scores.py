"""Scores of surprise: pairwise accuracy, AUROC of single clips, the moment of the event, likely to impossible."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torchmetrics.functional.classification import binary_auroc

from vjepa.data.randomness import Purpose, generator_for

RESAMPLES = 1000
PERCENTILES = (90.0, 99.0)  # of possible validation clips: "likely" to the first, "plausible" to the second
VERDICTS = ("likely", "plausible", "impossible")
LOCATED_WITHIN = 2  # frames of the file

Interval = tuple[float, float]  # 95 %, by the percentile bootstrap over pairs or clips (Efron 1979)
Values = Float64[np.ndarray, " n"]


class PairScores(NamedTuple):
    """Of the pairs of one property."""

    accuracy: float  # fraction of pairs whose odd clip surprises more, ties counted half
    accuracy_interval: Interval
    auroc: float  # of odd against plain clips
    auroc_interval: Interval


def odd_surprises(plain: Float64[np.ndarray, "..."], odd: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    """1 where the odd clip surprises more, 0.5 for ties."""
    return np.heaviside(odd - plain, 0.5)


def mean_scores(properties: Sequence[Float64[np.ndarray, "_ 2"]], seed: int = 0) -> PairScores:
    """The mean over properties, given the surprise of plain and odd clips of the pairs of each.

    Intervals are over pairs of each property that are drawn with replacement, both clips of a pair together.
    """
    scores, resamples = [], []
    for number, (plain, odd) in enumerate(each.T for each in properties):
        scores.append((odd_surprises(plain, odd).mean(), auroc(plain, odd)))
        resamples.append(resampled_scores(plain, odd, seed, number))
    (accuracy, area), (accuracies, areas) = np.mean(scores, axis=0), np.mean(resamples, axis=0)
    return PairScores(float(accuracy), interval_of(accuracies), float(area), interval_of(areas))


def auroc(plain: Values, odd: Values) -> float:
    # Ranks between 0 and 1: torchmetrics takes other numbers for logits, and its sigmoid may make them equal.
    ranks = torch.from_numpy(np.unique(np.concatenate((plain, odd)), return_inverse=True)[1])
    is_odd = torch.arange(len(ranks)) >= len(plain)
    return float(binary_auroc(ranks / max(1, int(ranks.max())), is_odd.long()))


def resampled_scores(plain: Values, odd: Values, seed: int, number: int) -> Float64[np.ndarray, "2 resamples"]:
    """Accuracy and AUROC of pairs drawn with replacement."""
    weights = resampled(len(plain), seed, number)
    wins = odd_surprises(plain[None], odd[:, None])  # AUROC is the mean of all comparisons
    return np.stack(
        (weights @ odd_surprises(plain, odd), np.einsum("ri,ij,rj->r", weights, wins, weights, optimize=True))
    )


def resampled(count: int, seed: int, *position: int) -> Float64[np.ndarray, "resamples n"]:
    """How often each of `count` is drawn with replacement, as a fraction of all draws."""
    generator = generator_for(seed, Purpose.BOOTSTRAP, *position)
    return generator.multinomial(count, [1 / count] * count, RESAMPLES) / count


def interval_of(statistics: Float64[np.ndarray, " resamples"]) -> Interval:
    low, high = np.quantile(statistics, [0.025, 0.975])
    return float(low), float(high)


def moment(curve: Float[np.ndarray, " F"], frame_ids: Int64[np.ndarray, " F"]) -> float | None:
    """The frame of the file at a curve's peak, the middle of those that share it; None for a curve that has none."""
    known = curve[~np.isnan(curve)]
    if not len(known) or known.max() <= known.min():
        return None
    return float(frame_ids[curve == known.max()].mean())


def verdicts(surprise: Values, thresholds: Float64[np.ndarray, " k"]) -> Int64[np.ndarray, " n"]:
    """Numbers of `VERDICTS`; a value on a threshold is below it."""
    return np.digitize(surprise, thresholds, right=True)
