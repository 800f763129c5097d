"""What has a checkpoint learned? Probes of its frozen features, beside the same probes of what has learned nothing."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vjepa.data.labelled_clips import SPLITS, LabelledClips
from vjepa.data.randomness import Purpose, generator_for
from vjepa.evaluation.feature_batches import CachedBatches, StreamedEvaluationBatches, StreamedTrainingBatches
from vjepa.evaluation.feature_cache import FeatureCache
from vjepa.evaluation.frozen_features import FrozenFeatures
from vjepa.evaluation.nearest_neighbours import best_num_neighbours, neighbour_votes
from vjepa.evaluation.probe import FeatureBatch, Probe, Sweep, train_probe
from vjepa.evaluation.scores import Scores, score

Amount = int | float | Literal["all"]


class Result(NamedTuple):
    """One cell of the table."""

    features: str
    amount: Amount
    probe: str
    seed: int
    scores: Scores
    chosen: str  # what validation chose
    val_accuracy: float
    seconds: float


class FrozenEvaluation:
    """Scores rows of features (a checkpoint's, random weights', pixels') by probes under one budget.

    Args:
        clips: labelled clips in three splits.
        sweep: heads and how they are trained.
        rows: the features to compare, each with a name of its own.
        labels_per_class: how much of the training split heads may learn from: so many clips of each class, a share of
            each class (below 1), or "all".
        seeds: of the labelled clips and of the heads; each is a run of its own.
        cache: folder of features; they are encoded once.
        cache_gigabytes: what all features of this evaluation may take; beyond it clips are encoded anew in each pass.
        accelerator: as for Lightning's trainer.
        shuffle_labels: train on shuffled labels, as a check: every probe must then be at chance.
    """

    def __init__(
        self,
        clips: LabelledClips,
        rows: list[FrozenFeatures],
        sweep: Sweep | None = None,
        labels_per_class: list[Amount] | None = None,
        seeds: list[int] | None = None,
        cache: Path = Path("runs/features"),
        cache_gigabytes: float = 20.0,
        accelerator: str = "auto",
        shuffle_labels: bool = False,
        report: Callable[[str], None] = print,
    ):
        names = [features.name for features in rows]
        if len(set(names)) < len(names):
            raise ValueError(f"two rows of features have one name ({', '.join(names)})")
        self.clips = clips
        self.rows = rows
        self.sweep = sweep or Sweep()
        self.amounts: list[Amount] = labels_per_class or ["all"]
        self.seeds = seeds or [0]
        self.cache_gigabytes = cache_gigabytes
        self.accelerator = accelerator
        self.shuffle_labels = shuffle_labels
        self.report = report
        self.device = device_of(accelerator)
        self.cache = FeatureCache(cache, clips, device=self.device)

    def run(self) -> list[Result]:
        """All cells. Raises RuntimeError if features changed while they were probed: frozen means frozen."""
        before = [features.fingerprint() for features in self.rows]
        cached = self._fits()
        if cached:
            self.cache.encode(self.rows, self.report)
        results = []
        for features in self.rows:
            for amount in self.amounts:
                for seed in self.seeds:
                    results += self._probe(features, amount, seed, cached)
        if before != [features.fingerprint() for features in self.rows]:
            raise RuntimeError("a frozen network changed while it was probed")
        return results

    def _fits(self) -> bool:
        wanted = sum(self.cache.num_bytes(features) for features in self.rows)
        allowed = min(self.cache_gigabytes * 1e9, self.cache.free_bytes())
        size = f"features of {sum(map(len, self.clips.manifests.values()))} files take {wanted / 1e9:.2f} GB"
        if wanted <= allowed:
            self.report(f"{size}, kept in {self.cache.folder}")
            return True
        self.report(f"{size}, more than {allowed / 1e9:.2f}: clips are decoded and encoded anew in each pass")
        return False

    def _probe(self, features: FrozenFeatures, amount: Amount, seed: int, cached: bool) -> list[Result]:
        started = time.monotonic()
        torch.manual_seed(seed)
        rows = self.clips.labelled_rows(amount, seed)
        names = self.clips.class_names
        sources = self._cached(features, rows, seed) if cached else self._streamed(features, rows)
        if self.shuffle_labels:
            sources["train"] = Shuffled(sources["train"], len(names), seed)

        first = next(iter(sources["val"]))
        num_steps = self.sweep.num_steps(len(rows))
        probe = Probe(self.sweep, first.tokens.shape[-1], first.pooled.shape[-1], len(names), num_steps)
        trials = train_probe(probe, sources["train"], sources["val"], sources["test"], self.accelerator)
        results = [
            Result(
                features.name,
                amount,
                kind,
                seed,
                score(trial.guesses, trial.labels, names, seed),
                f"learning rate {trial.candidate.learning_rate:g}, weight decay {trial.candidate.weight_decay:g}",
                trial.val_accuracy,
                time.monotonic() - started,
            )
            for kind, trial in trials.items()
        ]
        nearest = self._nearest(features, sources, amount, seed)
        cells = " ".join(f"{result.probe} {result.scores.top1:.1%}" for result in [nearest, *results])
        self.report(f"{features.name}, {describe(amount)}: {cells}")
        return [nearest, *results]

    def _nearest(self, features: FrozenFeatures, sources: dict, amount: Amount, seed: int) -> Result:
        started = time.monotonic()
        names = self.clips.class_names
        (bank, labels), (val, val_labels), (test, test_labels) = (
            pooled_of(sources[name]) for name in ("bank", "val", "test")
        )
        if self.shuffle_labels:
            labels = shuffled(labels, len(names), seed)
        count = best_num_neighbours(bank, labels, val, val_labels, len(names))
        on_val = neighbour_votes(bank, labels, val, count, len(names)).argmax(1) == val_labels
        guesses = neighbour_votes(bank, labels, test, count, len(names))
        return Result(
            features.name,
            amount,
            "kNN",
            seed,
            score(guesses.cpu(), test_labels.cpu(), names, seed),
            f"{count} neighbours",
            float(on_val.float().mean()),
            time.monotonic() - started,
        )

    def _cached(self, features: FrozenFeatures, rows: np.ndarray, seed: int) -> dict:
        loaded = {split: self.cache.load(features, split) for split in SPLITS}
        segments = {split: self.clips.cuts[split].num_segments for split in SPLITS}
        size, steps = self.sweep.batch_size, self.sweep.num_steps(len(rows))
        in_order = {
            split: CachedBatches(features, loaded[split], segments[split], batch_size=size) for split in ("val", "test")
        }
        bank = CachedBatches(features, loaded["train"], segments["train"], rows, size)
        training = CachedBatches(features, loaded["train"], segments["train"], rows, size, steps, seed)
        return {**in_order, "bank": bank, "train": training}

    def _streamed(self, features: FrozenFeatures, rows: np.ndarray) -> dict:
        size, steps = self.sweep.batch_size, self.sweep.num_steps(len(rows))
        return {
            "train": StreamedTrainingBatches(features, self.clips, rows, size, steps, self.device),
            "bank": StreamedEvaluationBatches(features, self.clips, "train", self.device, rows),
            "val": StreamedEvaluationBatches(features, self.clips, "val", self.device),
            "test": StreamedEvaluationBatches(features, self.clips, "test", self.device),
        }


class Shuffled:
    """Batches with their labels drawn anew: what is learned from them must be chance on other clips."""

    def __init__(self, batches: Iterable[FeatureBatch], num_classes: int, seed: int):
        self.batches = batches
        self.num_classes = num_classes
        self.seed = seed

    def __iter__(self) -> Iterator[FeatureBatch]:
        for number, batch in enumerate(self.batches):
            yield batch._replace(labels=shuffled(batch.labels, self.num_classes, self.seed, number))


def shuffled(labels: Tensor, num_classes: int, seed: int, number: int = 0) -> Tensor:
    """Labels that tell nothing."""
    drawn = generator_for(seed, Purpose.LABELLED_ROWS, 2, number).integers(num_classes, size=len(labels))
    return torch.from_numpy(drawn).to(labels.device)


def pooled_of(source: Iterable[FeatureBatch]) -> tuple[Tensor, Tensor]:  # (R, P) means over views, labels (R,)
    """Pooled features and labels of all files."""
    pooled, labels = zip(*((batch.pooled.mean(1), batch.labels) for batch in source), strict=True)
    return torch.cat(pooled), torch.cat(labels)


def describe(amount: Amount) -> str:
    """How much of the training split has labels, in words."""
    if amount == "all":
        return "all labels"
    return f"{int(amount)} labels per class" if amount >= 1 else f"{amount:.0%} of the labels"


def device_of(accelerator: str) -> torch.device:
    """The device that Lightning's trainer takes for this accelerator."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", 0)
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")
