"""What has a checkpoint learned? Probes of its frozen features, beside the same probes of what has learned nothing."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vjepa.data.clips.labelled_clips import SPLITS, LabelledClips, SplitName
from vjepa.data.randomness import Purpose, generator_for
from vjepa.evaluation.probes.feature_batches import CachedBatches, StreamedEvaluationBatches, StreamedTrainingBatches
from vjepa.evaluation.probes.feature_cache import FeatureCache
from vjepa.evaluation.probes.frozen_features import FrozenFeatures
from vjepa.evaluation.probes.nearest_neighbours import best_num_neighbours, neighbour_votes
from vjepa.evaluation.probes.probe import FeatureBatch, Probe, Sweep, train_probe
from vjepa.evaluation.probes.scores import Scores, score
from vjepa.evaluation.probes.temporal_tasks import TemporalTask, TemporalTaskName, temporal_task

Amount = int | float | Literal["all"]
CLASSES = "classes"  # the task whose classes are the manifest's


class Result(NamedTuple):
    """One cell of the table."""

    task: str  # CLASSES, or the title of a temporal task
    features: str
    amount: Amount
    probe: str
    seed: int
    scores: Scores
    chosen: str  # what validation chose
    val_accuracy: float
    seconds: float


class Question(NamedTuple):
    """What probes are asked of some features, and how much they may learn from."""

    task: str
    class_names: list[str]
    amount: Amount
    seed: int
    num_steps: int
    num_variants: int = 1  # samples that are made of one clip

    def score(self, guesses: Tensor, labels: Tensor) -> Scores:  # (R, classes), (R,)
        return score(guesses, labels, self.class_names, self.seed, self.num_variants)


class Answer(NamedTuple):
    """What one probe guessed on the test clips."""

    question: Question
    features: str
    probe: str
    guesses: Tensor  # (R, classes)
    labels: Tensor  # (R,)
    chosen: str
    val_accuracy: float
    seconds: float

    @property
    def accuracy(self) -> float:
        return float((self.guesses.argmax(1) == self.labels).float().mean())


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
        shuffle_labels: learn and choose by shuffled labels, as a check: every probe must then be near chance.
        temporal: tasks that need no labels; heads learn them from all training clips.
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
        temporal: Sequence[TemporalTaskName] = (),
        report: Callable[[str], None] = print,
    ):
        names = [features.name for features in rows]
        if len(set(names)) < len(names):
            raise ValueError(f"two rows of features have one name ({', '.join(names)})")
        for amount in labels_per_class or []:
            if amount != "all" and not amount > 0:
                raise ValueError(f"labels_per_class ({amount}) must be more than 0, or 'all'")
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
        self.temporal: list[tuple[TemporalTask, FeatureCache]] = []
        for name in dict.fromkeys(temporal):
            task = temporal_task(name, clips.frames.num_frames, clips.seed)
            longer = clips.with_single_clips(task.decoded_frames)
            self.temporal.append((task, FeatureCache(cache, longer, task, f"{name} {clips.seed}", self.device)))

    def run(self) -> list[Result]:
        """All cells. Raises RuntimeError if features changed while they were probed: frozen means frozen."""
        return scored(self.answers())

    def answers(self) -> list[Answer]:
        """All guesses on the test clips. Raises RuntimeError if features changed while they were probed."""
        before = [features.fingerprint() for features in self.rows]
        answers = self._classes(cached=self._fits())
        for task, cache in self.temporal:
            answers += self._temporal(task, cache)
        if before != [features.fingerprint() for features in self.rows]:
            raise RuntimeError("a frozen network changed while it was probed")
        return answers

    def _fits(self) -> bool:
        """Whether all features may be kept. Temporal tasks are never streamed: ValueError where they don't fit."""
        caches = [self.cache, *(cache for _, cache in self.temporal)]
        sizes = [sum(cache.num_bytes(features) for features in self.rows) for cache in caches]
        kept = sum(cache.kept_bytes(features) for cache in caches for features in self.rows)
        allowed = min(self.cache_gigabytes * 1e9, self.cache.free_bytes() + kept)
        if sum(sizes[1:]) > allowed:
            raise ValueError(
                f"features for temporal tasks take {sum(sizes[1:]) / 1e9:.2f} GB, more than {allowed / 1e9:.2f}; "
                "ask for fewer tasks or baselines, or allow more cache_gigabytes"
            )
        size = f"features of {sum(map(len, self.clips.manifests.values()))} files take {sum(sizes) / 1e9:.2f} GB"
        if sum(sizes) <= allowed:
            self.report(f"{size}, kept in {self.cache.folder}")
            return True
        self.report(f"{size}, more than {allowed / 1e9:.2f}: clips are decoded and encoded anew in each pass")
        return False

    def _classes(self, cached: bool) -> list[Answer]:
        """The manifest's classes, from each amount of labels."""
        if cached:
            self.cache.encode(self.rows, self.report)
        answers = []
        for features in self.rows:
            for amount in self.amounts:
                for seed in self.seeds:
                    rows = self.clips.labelled_rows(amount, seed)
                    num_steps = self.sweep.num_steps(len(rows))
                    question = Question(CLASSES, self.clips.class_names, amount, seed, num_steps)
                    sources = (
                        self._cached(self.cache, features, rows, question)
                        if cached
                        else self._streamed(features, rows, question)
                    )
                    answers += self._answers(question, features, sources)
        return answers

    def _temporal(self, task: TemporalTask, cache: FeatureCache) -> list[Answer]:
        """The variants that a task makes of each clip."""
        self.report(f"{task.title}:")
        cache.encode(self.rows, self.report)
        rows = np.arange(len(self.clips.manifests["train"]))
        num_steps, num_variants = self.sweep.num_steps(len(rows)), len(task.class_names)
        answers = []
        for features in self.rows:
            for seed in self.seeds:
                question = Question(task.title, list(task.class_names), "all", seed, num_steps, num_variants)
                answers += self._answers(question, features, self._cached(cache, features, rows, question))
        return answers

    def _answers(self, question: Question, features: FrozenFeatures, sources: dict) -> list[Answer]:
        """Nearest neighbours, and the chosen one of each kind of head."""
        started = time.monotonic()
        torch.manual_seed(question.seed)
        num_classes = len(question.class_names)
        if self.shuffle_labels:
            # Those that choose, too: a head that has learned nothing still maps like features to like guesses, and of
            # many such heads true labels would pick a lucky one.
            names = ("train", "bank", "val")
            sources |= {name: Shuffled(sources[name], num_classes, question.seed) for name in names}
        first = next(iter(sources["val"]))
        probe = Probe(self.sweep, first.tokens.shape[-1], first.pooled.shape[-1], num_classes, question.num_steps)
        trials = train_probe(probe, sources["train"], sources["val"], sources["test"], self.accelerator)
        answers = [
            Answer(
                question,
                features.name,
                kind,
                trial.guesses,
                trial.labels,
                f"learning rate {trial.candidate.learning_rate:g}, weight decay {trial.candidate.weight_decay:g}",
                trial.val_accuracy,
                time.monotonic() - started,
            )
            for kind, trial in trials.items()
        ]
        answers.insert(0, self._nearest(question, features, sources))
        cells = " ".join(f"{answer.probe} {answer.accuracy:.1%}" for answer in answers)
        self.report(f"{features.name}, {describe(question.task, question.amount)}: {cells}")
        return answers

    def _nearest(self, question: Question, features: FrozenFeatures, sources: dict) -> Answer:
        started = time.monotonic()
        num_classes = len(question.class_names)
        (bank, labels), (val, val_labels), (test, test_labels) = (
            pooled_of(sources[name]) for name in ("bank", "val", "test")
        )
        count = best_num_neighbours(bank, labels, val, val_labels, num_classes)
        on_val = neighbour_votes(bank, labels, val, count, num_classes).argmax(1) == val_labels
        guesses = neighbour_votes(bank, labels, test, count, num_classes)
        return Answer(
            question,
            features.name,
            "kNN",
            guesses.cpu(),
            test_labels.cpu(),
            f"{count} neighbours",
            float(on_val.float().mean()),
            time.monotonic() - started,
        )

    def _cached(self, cache: FeatureCache, features: FrozenFeatures, rows: np.ndarray, question: Question) -> dict:
        def batches(split: SplitName, rows: np.ndarray | None = None, num_batches: int | None = None) -> CachedBatches:
            num_segments = cache.clips.cuts[split].num_segments
            size, variants = self.sweep.files_at_once, question.num_variants > 1
            return CachedBatches(
                features,
                loaded[split],
                num_segments,
                rows,
                size,
                num_batches,
                question.seed,
                clips_are_classes=variants,
            )

        loaded = {split: cache.load(features, split) for split in SPLITS}
        return {
            "train": batches("train", rows, question.num_steps * self.sweep.accumulate_batches),
            "bank": batches("train", rows),
            "val": batches("val"),
            "test": batches("test"),
        }

    def _streamed(self, features: FrozenFeatures, rows: np.ndarray, question: Question) -> dict:
        size, num_batches = self.sweep.files_at_once, question.num_steps * self.sweep.accumulate_batches
        precision = self.sweep.precision

        def in_order(split: SplitName, rows: np.ndarray | None = None) -> StreamedEvaluationBatches:
            return StreamedEvaluationBatches(features, self.clips, split, self.device, rows, precision)

        return {
            "train": StreamedTrainingBatches(features, self.clips, rows, size, num_batches, self.device, precision),
            "bank": in_order("train", rows),
            "val": in_order("val"),
            "test": in_order("test"),
        }


def scored(answers: Sequence[Answer]) -> list[Result]:
    """Cells of the table: answers of one probe to one question together, of all folds where there are several."""
    together: dict[tuple, list[Answer]] = {}
    for answer in answers:
        question = answer.question
        key = (question.task, answer.features, question.amount, question.seed, answer.probe)
        together.setdefault(key, []).append(answer)
    results = []
    for (task, features, amount, seed, probe), parts in together.items():
        guesses, labels = (torch.cat([getattr(part, name) for part in parts]) for name in ("guesses", "labels"))
        results.append(
            Result(
                task,
                features,
                amount,
                probe,
                seed,
                parts[0].question.score(guesses, labels),
                "; ".join(dict.fromkeys(part.chosen for part in parts)),
                float(np.mean([part.val_accuracy for part in parts])),
                sum(part.seconds for part in parts),
            )
        )
    return results


class Shuffled:
    """Batches with their labels drawn anew: what is learned from them must be chance on other clips."""

    def __init__(self, batches: Iterable[FeatureBatch], num_classes: int, seed: int):
        self.batches = batches
        self.num_classes = num_classes
        self.seed = seed

    def __iter__(self) -> Iterator[FeatureBatch]:
        for number, batch in enumerate(self.batches):
            generator = generator_for(self.seed, Purpose.LABELLED_ROWS, 2, number)
            drawn = torch.from_numpy(generator.integers(self.num_classes, size=len(batch.labels)))
            yield batch._replace(labels=drawn.to(batch.labels.device))


def pooled_of(source: Iterable[FeatureBatch]) -> tuple[Tensor, Tensor]:  # (R, P) means over views, labels (R,)
    """Pooled features and labels of all files."""
    pooled, labels = zip(*((batch.pooled.mean(1), batch.labels) for batch in source), strict=True)
    return torch.cat(pooled), torch.cat(labels)


def describe(task: str, amount: Amount) -> str:
    """What was asked, in words: how much of the training split has labels, or which temporal task it is."""
    if task != CLASSES:
        return task
    if amount == "all":
        return "all labels"
    return f"{int(amount)} labels per class" if amount >= 1 else f"{amount * 100:g} % of the labels"


def device_of(accelerator: str) -> torch.device:
    """The device that Lightning's trainer takes for this accelerator."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", 0)
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")
