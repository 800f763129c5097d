"""Accuracies by labels: of probes on encoders pretrained on more or fewer clips, of random weights, of labels alone."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from vjepa.data.atomic_file import write_json
from vjepa.data.clips.labelled_clips import LabelledClips
from vjepa.evaluation.comparison.comparison import Measured
from vjepa.evaluation.finetuning.finetuning import FineTuning
from vjepa.evaluation.label_efficiency.labels_saved import Saved, labels_saved
from vjepa.evaluation.probes.frozen_evaluation import CLASSES, Amount, describe
from vjepa.evaluation.probes.sweep import Sweep
from vjepa.interop.run_folder import PretrainedRun, read_settings

SUPERVISED = "trained with labels alone"
UNTRAINED = "random weights, probed"


class Point(NamedTuple):
    """An accuracy of the picture, on test clips."""

    accuracy: float
    val_accuracy: float
    head: str  # the one that is best on validation clips


class Curve(NamedTuple):
    """Accuracies by labels. All seeds have the same amounts of labels, but labels of their own."""

    name: str
    points: list[list[Point]]  # by seed and amount of labels

    def accuracies(self, seed: int) -> list[float]:
        return [point.accuracy for point in self.points[seed]]

    def at(self, amount: int) -> list[float]:
        """By seed, at the amount of this number."""
        return [points[amount].accuracy for points in self.points]


class LabelEfficiency(NamedTuple):
    """Results. The last curve of `pretrained` has seen the most unlabelled clips."""

    amounts: list[Amount]
    labels: list[float]  # of each class, by amount
    seeds: list[int]
    pretrained: list[Curve]
    untrained: Curve
    supervised: Curve
    chance: float

    @property
    def curves(self) -> list[Curve]:
        return [*self.pretrained, self.untrained, self.supervised]

    @property
    def without_pretraining(self) -> Curve:
        """What is better on validation clips, by seed and amount: labels alone, or probes on random weights."""
        both = zip(self.supervised.points, self.untrained.points, strict=True)
        points = [
            [max(pair, key=lambda point: point.val_accuracy) for pair in zip(*of_seed, strict=True)] for of_seed in both
        ]
        return Curve("without pretraining", points)

    def saved(self, curve: Curve, amount: int) -> Saved:
        """Labels saved by a curve at the amount of this number, beside the better way without pretraining."""
        without = self.without_pretraining
        lines = [without.accuracies(seed) for seed in range(len(self.seeds))]
        return labels_saved(self.labels[amount], curve.at(amount), self.labels, lines)


def best_probes(measured: Measured, amounts: Sequence[Amount]) -> list[Point]:
    """For each amount of labels the probe (kNN or a head) that is best on validation clips."""
    points = []
    for amount in amounts:
        ending = f", {describe(CLASSES, amount)}"
        val = {name: value for name, value in measured.val_accuracies.items() if name.endswith(ending)}
        best = max(val, key=lambda name: val[name])
        points.append(Point(measured.accuracies[best], val[best], best.removesuffix(ending)))
    return points


def supervised_point(
    recipe: Path,
    clips: LabelledClips,
    sweep: Sweep,
    amount: Amount,
    seed: int,
    folder: Path,
    accelerator: str,
    threads: int,
) -> Point:
    """A recipe's encoder trained with these labels alone, from random weights. Stored in the folder."""
    torch.set_num_threads(threads)
    run = PretrainedRun(recipe, {}, read_settings(recipe)._replace(seed=seed), None)
    settings = f"{run.settings.encoder} {clips.fingerprint()} {sweep} {amount} {seed}"
    file = folder / f"supervised_{hashlib.sha256(settings.encode()).hexdigest()[:16]}.json"
    if file.is_file():
        return Point(**json.loads(file.read_text()))
    results = FineTuning(
        clips, run, methods=["scratch"], sweep=sweep, labels_per_class=[amount], seeds=[seed], accelerator=accelerator
    ).run()
    best = max(results, key=lambda result: result.val_accuracy)
    point = Point(best.scores.top1, best.val_accuracy, best.probe)
    write_json(file, point._asdict())
    return point


def rows_of(result: LabelEfficiency) -> list[Mapping[str, object]]:
    """A row for each point, as results are written."""
    return [
        {"curve": curve.name, "labels_per_class": amount, "seed": seed, **point._asdict()}
        for curve in result.curves
        for seed, points in zip(result.seeds, curve.points, strict=True)
        for amount, point in zip(result.amounts, points, strict=True)
    ]
