"""Labels saved: how many times more labels training from random weights needs for the accuracy of a pretrained encoder.

Supervised accuracies are interpolated linearly in the logarithm of the number of labels. Where they never reach the
accuracy there is only a lower bound, and where the fewest labels suffice only an upper one.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

Bound = Literal["", ">", "<"]  # the true number is this one, more, or less
WORDS: dict[Bound, str] = {"": "", ">": "more than ", "<": "less than "}


class Needed(NamedTuple):
    """A number of labels, or a number of times."""

    number: float
    bound: Bound = ""

    @property
    def words(self) -> str:
        return f"{WORDS[self.bound]}{self.shown}"

    @property
    def shown(self) -> str:
        """The number with two digits."""
        return f"{self.number:.{2 if self.number < 1 else 1 if self.number < 9.95 else 0}f}"


def labels_needed(
    accuracy: float,
    labels: Sequence[float],  # numbers of labels, ascending
    accuracies: Sequence[float],  # of supervised training with them
) -> Needed:
    """The fewest labels with which supervised training reaches an accuracy.

    More labels never count as worse: what a smaller number has reached, a larger one is taken to reach.
    """
    reached = np.maximum.accumulate(np.asarray(accuracies, float))
    first = int(np.searchsorted(reached, accuracy))  # the first number of labels that is enough
    if first == len(labels):
        return Needed(float(labels[-1]), ">")
    if first == 0:
        return Needed(float(labels[0]), "" if reached[0] == accuracy else "<")
    part = (accuracy - reached[first - 1]) / (reached[first] - reached[first - 1])
    below, above = np.log(labels[first - 1 : first + 1])
    return Needed(float(np.exp(below + part * (above - below))))


class Saved(NamedTuple):
    """Times fewer labels, over seeds."""

    by_seed: list[Needed]

    @property
    def mean(self) -> Needed:
        """The geometric mean over seeds. It is a bound where that of one seed is."""
        bounds = {each.bound for each in self.by_seed} - {""}
        bound: Bound = bounds.pop() if len(bounds) == 1 else ""
        return Needed(float(np.exp(np.mean([np.log(each.number) for each in self.by_seed]))), bound)

    @property
    def words(self) -> str:
        """The mean, and the smallest and largest of the seeds."""
        low, high = (pick(self.by_seed, key=lambda each: each.number).words for pick in (min, max))
        return f"{self.mean.words} ×" + (f" ({low} to {high})" if low != high else "")


def labels_saved(
    used: float,  # labels that the probe learned from
    probed: Sequence[float],  # accuracies of the probe, by seed
    labels: Sequence[float],  # of supervised training, ascending
    supervised: Sequence[Sequence[float]],  # its accuracies, by seed and number of labels
) -> Saved:
    """Labels that supervised training needs for the same accuracy, over labels used; seed by seed."""
    needed = [labels_needed(each, labels, line) for each, line in zip(probed, supervised, strict=True)]
    return Saved([Needed(number / used, bound) for number, bound in needed])
