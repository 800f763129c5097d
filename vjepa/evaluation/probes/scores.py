"""Accuracies of probes, by torchmetrics, with a bootstrap interval over clips."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Num
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_confusion_matrix

from vjepa.data.randomness import Purpose, generator_for

RESAMPLES = 1000


class Trial(NamedTuple):
    """Guesses on the test clips of a probe that was chosen on validation clips."""

    probe: str  # kNN, or the kind of head
    chosen: str  # settings that validation chose
    val_accuracy: float
    guesses: Float[Tensor, "R classes"]  # votes or probabilities
    labels: Int64[Tensor, " R"]

    @property
    def accuracy(self) -> float:
        return accuracy(self.guesses, self.labels)


@dataclass(frozen=True)
class Scores:
    """Accuracies of one probe on one split, between 0 and 1."""

    top1: float
    interval: tuple[float, float]  # of top1, 95 %
    top5: float | None  # None with five classes or fewer
    mean_class: float  # mean of the accuracies of single classes
    per_class: dict[str, float] = field(repr=False)  # of classes that have clips
    confusion: list[list[int]] = field(repr=False)  # true class by guessed class
    num_clips: int = 0

    @property
    def chance(self) -> float:
        return 1 / len(self.confusion)

    def as_dict(self) -> dict[str, Any]:
        return dict(vars(self))


def accuracy(guesses: Float[Tensor, "R classes"], labels: Int64[Tensor, " R"]) -> float:
    return float((guesses.argmax(1) == labels).float().mean())


def score(
    guesses: Float[Tensor, "R classes"],  # any score that is higher for a likelier class
    labels: Int64[Tensor, " R"],
    class_names: list[str],
    seed: int = 0,
    num_variants: int = 1,  # consecutive samples made from one clip (temporal tasks)
) -> Scores:
    """All accuracies. The interval of top1 covers the choice of test clips, not the randomness of training."""
    num_classes = len(class_names)
    confusion = multiclass_confusion_matrix(guesses, labels, num_classes)
    counts = confusion.sum(1)
    present = counts > 0
    class_accuracies = confusion.diagonal() / counts.clamp_min(1)
    right = (guesses.argmax(1) == labels).numpy()
    top5 = None
    if num_classes > 5:
        top5 = float(multiclass_accuracy(guesses, labels, num_classes, top_k=5, average="micro"))
    return Scores(
        top1=float(multiclass_accuracy(guesses, labels, num_classes, average="micro")),
        interval=bootstrap_interval(right.reshape(-1, num_variants).mean(1), seed),
        top5=top5,
        mean_class=float(class_accuracies[present].mean()),
        per_class={class_names[i]: float(class_accuracies[i]) for i in torch.nonzero(present).flatten().tolist()},
        confusion=confusion.tolist(),
        num_clips=len(labels) // num_variants,
    )


def bootstrap_interval(
    right: Num[np.ndarray, " clips"] | Bool[np.ndarray, " clips"],  # whether right; fraction of each clip's variants
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of the accuracy over clips resampled with replacement (Efron 1979)."""
    generator = generator_for(seed, Purpose.BOOTSTRAP)
    # Of n clips drawn with replacement, the number that has each value is multinomial.
    values, counts = np.unique(right, return_counts=True)
    accuracies = generator.multinomial(len(right), counts / len(right), RESAMPLES) @ values / len(right)
    low, high = np.quantile(accuracies, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
