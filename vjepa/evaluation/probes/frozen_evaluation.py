"""Frozen evaluation of a checkpoint beside baselines: the same probes on the features of each."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64

from vjepa.data.clips.evaluation_clips import SPLITS, SplitName
from vjepa.data.clips.labelled_clips import LabelledClips
from vjepa.data.randomness import Purpose, generator_for
from vjepa.evaluation.accelerator import torch_device
from vjepa.evaluation.probes.feature_batches import CachedBatches, streamed_evaluation, streamed_training
from vjepa.evaluation.probes.feature_cache import FeatureCache
from vjepa.evaluation.probes.frozen_features import FrozenFeatures
from vjepa.evaluation.probes.nearest_neighbours import neighbours_trial
from vjepa.evaluation.probes.probe import FeatureBatch, Probe, train_probe
from vjepa.evaluation.probes.scores import Scores, Trial, score
from vjepa.evaluation.probes.sweep import Sweep
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
    chosen: str  # settings that validation chose
    val_accuracy: float
    seconds: float


class Setting(NamedTuple):
    """A task, and the training clips that probes learn it from."""

    task: str
    class_names: list[str]
    amount: Amount
    rows: Int64[np.ndarray, " n"]  # of the training split
    seed: int
    num_variants: int = 1  # samples that are made of one clip


class Outcome(NamedTuple):
    """The guesses of one probe in one setting."""

    setting: Setting
    features: str
    trial: Trial
    seconds: float


class Sources(NamedTuple):
    """Batches that heads learn from, that neighbours are looked up in, that choose, and that are scored."""

    train: Iterable[FeatureBatch]
    bank: Iterable[FeatureBatch]
    val: Iterable[FeatureBatch]
    test: Iterable[FeatureBatch]


class FrozenEvaluation:
    """Scores rows of features (a checkpoint's, random weights', pixels') by probes under one budget.

    Args:
        clips: labelled clips in three splits. Where they come in folds, each fold is tested once.
        rows: the features to compare, each with a name of its own.
        sweep: heads and how they are trained.
        labels_per_class: labels of the training split to learn from: a number of clips of each class, a fraction of
            each class (below 1), or "all".
        seeds: of the labelled clips and of the heads.
        cache: folder of features; they are encoded once.
        cache_gigabytes: limit for all features of this evaluation; beyond it clips are encoded anew in each pass.
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
        require_amounts(labels_per_class or [])
        self.folds = [clips] if clips.folds is None else [clips.fold(k) for k in range(clips.folds)]
        self.rows = rows
        self.sweep = sweep or Sweep()
        self.amounts: list[Amount] = labels_per_class or ["all"]
        self.seeds = seeds or [0]
        self.cache = cache
        self.cache_gigabytes = cache_gigabytes
        self.accelerator = accelerator
        self.device = torch_device(accelerator)
        self.shuffle_labels = shuffle_labels
        self.tasks = [temporal_task(name, clips.frames.num_frames, clips.seed) for name in dict.fromkeys(temporal)]
        self.report = report

    def run(self) -> list[Result]:
        """All cells. Raises RuntimeError if features changed while they were probed: frozen means frozen."""
        for note in self.folds[0].notes:
            self.report(note)
        before = [features.fingerprint() for features in self.rows]
        outcomes: list[Outcome] = []
        for number, clips in enumerate(self.folds, start=1):
            if len(self.folds) > 1:
                self.report(f"fold {number} of {len(self.folds)}:")
            outcomes += self._fold(clips)
        if before != [features.fingerprint() for features in self.rows]:
            raise RuntimeError("a frozen network changed while it was probed")
        return scored(outcomes)

    def _fold(self, clips: LabelledClips) -> list[Outcome]:
        cache = FeatureCache(self.cache, clips, device=self.device)
        temporal = [(task, self._temporal_cache(task, clips)) for task in self.tasks]
        cached = self._fit([cache, *(each for _, each in temporal)])
        settings = [
            Setting(CLASSES, clips.class_names, amount, clips.labelled_rows(amount, seed), seed)
            for amount in self.amounts
            for seed in self.seeds
        ]
        outcomes = self._probe_all(settings, cache, cached)
        for task, task_cache in temporal:
            self.report(f"{task.title}:")
            names, rows = list(task.class_names), np.arange(len(clips.manifests["train"]))
            settings = [Setting(task.title, names, "all", rows, seed, len(names)) for seed in self.seeds]
            outcomes += self._probe_all(settings, task_cache)
        return outcomes

    def _temporal_cache(self, task: TemporalTask, clips: LabelledClips) -> FeatureCache:
        longer = clips.with_single_clips(task.decoded_frames)
        return FeatureCache(self.cache, longer, task, f"{task.name} {clips.seed}", self.device)

    def _fit(self, caches: list[FeatureCache]) -> bool:
        """Whether all features may be cached. Temporal tasks are never streamed: ValueError where they don't fit."""
        sizes = [sum(cache.num_bytes(features) for features in self.rows) for cache in caches]
        cached = sum(cache.cached_bytes(features) for cache in caches for features in self.rows)
        allowed = min(self.cache_gigabytes * 1e9, caches[0].free_bytes() + cached)
        if sum(sizes[1:]) > allowed:
            raise ValueError(
                f"features for temporal tasks take {sum(sizes[1:]) / 1e9:.2f} GB, more than {allowed / 1e9:.2f}; "
                "ask for fewer tasks or baselines, or allow more cache_gigabytes"
            )
        num_files = sum(map(len, caches[0].clips.manifests.values()))
        size = f"features of {num_files} files take {sum(sizes) / 1e9:.2f} GB"
        if sum(sizes) <= allowed:
            self.report(f"{size}, kept in {self.cache}")
            return True
        self.report(f"{size}, more than {allowed / 1e9:.2f}: clips are decoded and encoded anew in each pass")
        return False

    def _probe_all(self, settings: list[Setting], cache: FeatureCache, cached: bool = True) -> list[Outcome]:
        """All rows in all settings, by features from the cache or encoded anew in each pass."""
        if cached:
            cache.encode(self.rows, self.report)
        sources = self._cached if cached else self._streamed
        return [
            outcome
            for features in self.rows
            for setting in settings
            for outcome in self._probe(setting, features, sources(features, setting, cache))
        ]

    def _probe(self, setting: Setting, features: FrozenFeatures, sources: Sources) -> list[Outcome]:
        """Nearest neighbours, and the chosen one of each kind of head."""
        started = time.monotonic()
        torch.manual_seed(setting.seed)
        num_classes, num_steps = len(setting.class_names), self.sweep.num_steps(len(setting.rows))
        if self.shuffle_labels:
            # Those that choose, too: a head that has learned nothing still maps like features to like guesses, and of
            # many such heads true labels would pick a lucky one.
            train, bank, val = (Shuffled(source, num_classes, setting.seed) for source in sources[:3])
            sources = Sources(train, bank, val, sources.test)
        first = next(iter(sources.val))
        probe = Probe(self.sweep, first.tokens.shape[-1], first.pooled.shape[-1], num_classes, num_steps)
        trials = train_probe(probe, sources.train, sources.val, sources.test, self.accelerator)
        trained = time.monotonic()
        nearest = neighbours_trial(sources.bank, sources.val, sources.test, num_classes)
        outcomes = [Outcome(setting, features.name, nearest, time.monotonic() - trained)]
        outcomes += [Outcome(setting, features.name, trial, trained - started) for trial in trials.values()]
        cells = " ".join(f"{outcome.trial.probe} {outcome.trial.accuracy:.1%}" for outcome in outcomes)
        self.report(f"{features.name}, {describe(setting.task, setting.amount)}: {cells}")
        return outcomes

    def _cached(self, features: FrozenFeatures, setting: Setting, cache: FeatureCache) -> Sources:
        loaded = {split: cache.load(features, split) for split in SPLITS}

        def batches(split: SplitName, rows: np.ndarray | None = None, num_batches: int | None = None) -> CachedBatches:
            return CachedBatches(
                features,
                loaded[split],
                cache.clips.cuts[split].num_segments,
                rows,
                self.sweep.files_at_once,
                num_batches,
                setting.seed,
                clips_are_classes=setting.num_variants > 1,
            )

        train = batches("train", setting.rows, self._num_batches(setting))
        return Sources(train, batches("train", setting.rows), batches("val"), batches("test"))

    def _streamed(self, features: FrozenFeatures, setting: Setting, cache: FeatureCache) -> Sources:
        how, precision = (features, cache.clips), self.sweep.precision
        size, num_batches = self.sweep.files_at_once, self._num_batches(setting)
        return Sources(
            streamed_training(*how, setting.rows, size, num_batches, self.device, precision),
            streamed_evaluation(*how, "train", self.device, setting.rows, precision),
            streamed_evaluation(*how, "val", self.device, None, precision),
            streamed_evaluation(*how, "test", self.device, None, precision),
        )

    def _num_batches(self, setting: Setting) -> int:
        return self.sweep.num_steps(len(setting.rows)) * self.sweep.accumulate_batches


def require_amounts(amounts: Sequence[Amount]) -> None:
    """Raises ValueError for an amount of labels that is none."""
    for amount in amounts:
        if amount != "all" and not amount > 0:
            raise ValueError(f"labels_per_class ({amount}) must be more than 0, or 'all'")


def scored(outcomes: Sequence[Outcome]) -> list[Result]:
    """Cells of the table. The test clips of all folds are scored together."""
    cells: dict[tuple[str, str, Amount, str, int], list[Outcome]] = {}
    for outcome in outcomes:
        setting = outcome.setting
        key = (setting.task, outcome.features, setting.amount, outcome.trial.probe, setting.seed)
        cells.setdefault(key, []).append(outcome)
    results = []
    for key, folds in cells.items():
        setting, trials = folds[0].setting, [outcome.trial for outcome in folds]
        guesses, labels = torch.cat([each.guesses for each in trials]), torch.cat([each.labels for each in trials])
        results.append(
            Result(
                *key,
                score(guesses, labels, setting.class_names, setting.seed, setting.num_variants),
                "; ".join(dict.fromkeys(each.chosen for each in trials)),
                float(np.mean([each.val_accuracy for each in trials])),
                sum(outcome.seconds for outcome in folds),
            )
        )
    return results


class Shuffled:
    """Batches whose labels are replaced by random ones: heads that learn them must be at chance on other clips."""

    def __init__(self, batches: Iterable[FeatureBatch], num_classes: int, seed: int):
        self.batches = batches
        self.num_classes = num_classes
        self.seed = seed

    def __iter__(self) -> Iterator[FeatureBatch]:
        for number, batch in enumerate(self.batches):
            generator = generator_for(self.seed, Purpose.LABELLED_ROWS, 2, number)
            drawn = torch.from_numpy(generator.integers(self.num_classes, size=len(batch.labels)))
            yield batch._replace(labels=drawn.to(batch.labels.device))


def describe(task: str, amount: Amount) -> str:
    """The temporal task, or the amount of labels, in words."""
    if task != CLASSES:
        return task
    if amount == "all":
        return "all labels"
    return f"{int(amount)} labels per class" if amount >= 1 else f"{amount * 100:g} % of the labels"
