"""Labelled clips for frozen evaluation: classes with one numbering over three splits, or over folds."""

import hashlib
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Literal, final

import numpy as np
from jaxtyping import Int64
from torch.utils.data import DataLoader

from vjepa.data.clips.batch import ClipBatch
from vjepa.data.clips.cuts import EvaluationCuts
from vjepa.data.clips.evaluation_clips import SPLITS, EvaluationClips, SplitName
from vjepa.data.clips.frame_sampling import FrameSampling
from vjepa.data.manifest.class_names import Classes, learned_classes, listed
from vjepa.data.manifest.manifest import Manifest, read_manifest
from vjepa.data.randomness import Purpose, generator_for
from vjepa.data.video.storage import versions_of
from vjepa.data.video.video_cache import VideoCache


@final
@dataclass(kw_only=True, eq=False, repr=False)
class LabelledClips(EvaluationClips):
    """Clips with classes: heads learn on `train`, are selected on `val`, and the selected ones are scored on `test`.

    Validation and test rows are drawn class by class, or as whole groups of `group` (subjects, source films).

    Where clips are few, `folds` tests each of them once (cross-validation): the groups of the training manifest are
    dealt into that many folds, and `fold(k)` tests on fold k, selects on the next one and learns on the others.

    Args:
        label: column with the class.
        folds: number of folds; a single split if None.
        test_share: fraction of the training rows to test on, 0 to 1, where there is no test split.
        frame_step: frames of the file from one clip frame to the next. Give exactly one of this, fps and duration.
        duration: seconds that a clip covers.
        segments: clips over a file's length, in validation and test.
        views: crops over a frame, in validation and test.
        train_segments: clips over the length of a training file.
        train_views: crops over a frame of training clips that are encoded once; those that are encoded anew have one.
        cache_gigabytes: cache decoded videos in memory up to this size, per process; for one that decodes many passes
            itself (num_workers=0).
    """

    label: str = "label"
    folds: int | None = None
    test_share: float | None = None
    frame_step: float | None = None
    duration: float | None = None
    segments: int = 1
    views: int = 1
    train_segments: int = 1
    train_views: int = 1
    cache_gigabytes: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_positive("segments", "views", "train_segments", "train_views")
        if self.cache_gigabytes:
            self.readers_of_clips = VideoCache(self.reader_chain, self.cache_gigabytes)
        self.frames = FrameSampling(self.num_frames, self.fps, self.frame_step, self.duration)
        evaluated = EvaluationCuts(self.crop_size, self.segments, self.views)
        once = EvaluationCuts(self.crop_size, self.train_segments, self.train_views)
        self.cuts: dict[SplitName, EvaluationCuts] = {"train": once, "val": evaluated, "test": evaluated}
        self.training_cuts = self.random_cuts(self.train_segments)
        self.notes: list[str] = []  # what a reader of the accuracies must know of these clips
        if self.folds is None:
            self.manifests = self._read_splits()
            self._require_learned(self.manifests, "")
        else:
            self._whole, self._fold_of_row = self._deal(self.folds)
            for number in range(self.folds):
                self._require_learned(self._manifests_of_fold(number), f" of fold {number + 1}")
            self.manifests = self._manifests_of_fold(0)
        num_clips, num_classes = len(self.manifests["train"]), len(self.class_names)
        if num_classes > 0.9 * num_clips:
            self.notes.append(f"{num_classes} classes for {num_clips} training clips: is '{self.label}' a class?")

    @property
    def class_names(self) -> list[str]:
        return self.manifests["train"].label_names

    def fold(self, number: int) -> "LabelledClips":
        """The same clips, tested on one fold and selected on the next."""
        other = copy(self)
        other.manifests = self._manifests_of_fold(number)
        return other

    def reseeded(self, seed: int) -> "LabelledClips":
        """The same splits; training clips come in another order, with other crops."""
        other = copy(self)
        other.seed = int(generator_for(self.seed, Purpose.LABELLED_ROWS, 3, seed).integers(2**31))
        return other

    def with_single_clips(self, num_frames: int) -> "LabelledClips":
        """The same files at the same rate, each cut into one clip of this many frames."""
        duration = self.frames.duration and self.frames.duration * num_frames / self.frames.num_frames
        other = copy(self)
        other.frames = replace(self.frames, num_frames=num_frames, duration=duration)
        other.cuts = {split: EvaluationCuts(self.crop_size) for split in SPLITS}
        return other

    def fingerprint(self) -> str:
        """A hash of everything that decides the pixels of clips: files (with size and time), windows, frames, crops."""
        digest = hashlib.sha256(f"{vars(self.frames)} {self.crop_size}".encode())
        for split in SPLITS:
            manifest, cuts = self.manifests[split], self.cuts[split]
            digest.update(f"{split} {cuts.num_segments} {cuts.num_views} {len(manifest)}".encode())
            for path, version in zip(manifest.paths, versions_of(manifest.paths), strict=True):
                digest.update(f"{path}\0{tuple(version)}\0".encode("utf-8", "surrogateescape"))
            digest.update(manifest.labels.tobytes())
            if manifest.windows is not None:
                digest.update(manifest.windows.tobytes())
        return digest.hexdigest()

    def evaluation_batches(self, split: SplitName, rows: Int64[np.ndarray, " n"]) -> Iterator[ClipBatch]:
        """All clips of these rows, in this order, the clips of a file together: segment by segment, view by view."""
        cuts = self.cuts[split]
        files = max(1, self.batch_size // cuts.clips_per_video)
        return self.ordered_batches(self.manifests[split], self.frames, cuts, rows, files)

    def training_batches(
        self, rows: Int64[np.ndarray, " n"], batch_size: int, num_batches: int, rank: int = 0, world_size: int = 1
    ) -> DataLoader[Any]:
        """Augmented clips of these rows of the training split, in shuffled order."""
        train = self.manifests["train"].select(rows)
        return self.shuffled_batches(train, self.frames, self.training_cuts, batch_size, num_batches, rank, world_size)

    def labelled_rows(self, amount: int | float | Literal["all"], seed: int = 0) -> Int64[np.ndarray, " n"]:
        """Rows of the training split to learn from: a number per class, a fraction of each class (below 1), or all."""
        labels = self.manifests["train"].labels
        generator = generator_for(seed, Purpose.LABELLED_ROWS)
        chosen = []
        for number in np.unique(labels):
            rows = generator.permutation(np.flatnonzero(labels == number))
            if amount == "all":
                chosen.append(rows)
            else:
                chosen.append(rows[: int(amount) if amount >= 1 else max(1, round(amount * len(rows)))])
        return np.sort(np.concatenate(chosen))

    def _read_splits(self) -> dict[SplitName, Manifest]:
        columns = [self.label, *([self.group] if self.group else [])]
        self._require_one_test_split()
        splits = [split for split in SPLITS if split != "test" or self.test_share is None]
        read = {split: self.read_split(split, columns) for split in splits}
        given = {split: self._labelled(manifest) for split, manifest in read.items() if manifest is not None}
        train, *others = (self._classes(manifest, split) for split, manifest in given.items())
        class_names = learned_classes(train, others, self.label)
        for split in ("test", "val"):
            if split not in given:
                whole = given["train"]
                by_groups = self.group is not None
                is_held_out = (
                    self.held_out_groups(self._groups(whole), split)
                    if by_groups
                    else self._held_out_of_each_class(whole, split)
                )
                given["train"], given[split] = self.hold_out(whole, is_held_out, split)
        return {split: given[split].numbered_as(class_names) for split in SPLITS}

    def _require_one_test_split(self) -> None:
        if self.test_share is None:
            return
        if not 0 < self.test_share < 1:
            raise ValueError(f"test_share ({self.test_share}) must be between 0 and 1; try 0.25")
        if self.test_manifest or self.test_split:
            raise ValueError(
                f"test_share ({self.test_share}) splits the training manifest, and there is a test split, too; leave "
                f"out test_share, or test_manifest and test_split (--data.test_share=null)"
            )

    def _held_out_share(self, split: SplitName) -> tuple[float, int]:
        if split == "test":
            assert self.test_share is not None
            return self.test_share, 5
        return super()._held_out_share(split)

    def _held_out_of_each_class(self, train: Manifest, split: SplitName) -> np.ndarray:
        share, stream = self._held_out_share(split)
        is_held_out = np.zeros(len(train), bool)
        generator = generator_for(self.seed, Purpose.LABELLED_ROWS, stream)
        for number in np.unique(train.labels):
            rows = generator.permutation(np.flatnonzero(train.labels == number))
            count = max(1, round(share * len(rows)))
            is_held_out[rows[: min(count, len(rows) - 1)]] = True  # the only clip of a class is for training
        return is_held_out

    def _deal(self, folds: int) -> tuple[Manifest, Int64[np.ndarray, " rows"]]:
        """All labelled rows, and the fold of each."""
        if self.test_share or any(
            (self.val_manifest, self.test_manifest, self.train_split, self.val_split, self.test_split)
        ):
            raise ValueError(
                "folds split the training manifest themselves; drop the recipe's other splits: "
                "--data.train_split=null --data.val_split=null --data.test_split=null --data.test_share=null "
                "(and manifests)"
            )
        if self.group is None:
            raise ValueError("folds need groups: name the column of what must not be on both sides with --data.group")
        whole = self._labelled(read_manifest(self.train_manifest, self.root, None, [self.label, self.group]))
        whole = whole.numbered_as(learned_classes(self._classes(whole, "labelled"), [], self.label))
        numbers, group_of_row = np.unique(self._groups(whole), return_inverse=True)
        if not 3 <= folds <= len(numbers):
            raise ValueError(
                f"folds ({folds}) must be at least 3 (to learn, to choose, to test) and at most the number of groups "
                f"in column '{self.group}' ({len(numbers)})"
            )
        return whole, group_of_row % folds

    def _manifests_of_fold(self, number: int) -> dict[SplitName, Manifest]:
        assert self.folds is not None
        is_test = self._fold_of_row == number
        is_val = self._fold_of_row == (number + 1) % self.folds
        rows = {"train": ~is_test & ~is_val, "val": is_val, "test": is_test}
        return {split: self._whole.select(np.flatnonzero(rows[split])) for split in SPLITS}

    def _labelled(self, manifest: Manifest) -> Manifest:
        """Without the rows that have no class."""
        rows = np.flatnonzero(manifest.labels >= 0)
        if not len(rows):
            raise ValueError(
                f"{manifest.source} has no classes in a column '{self.label}'; a probe needs them (--data.label)"
            )
        return manifest.select(rows)

    def _classes(self, manifest: Manifest, kind: str) -> Classes:
        return Classes(f"{kind} clips of {manifest.source}", next(iter(manifest.columns.values())).counts())

    def _require_learned(self, manifests: dict[SplitName, Manifest], of_fold: str) -> None:
        """Note the clips whose class was held out of training as a whole; refuse where they are a whole split."""
        for split in ("val", "test"):
            manifest = manifests[split]
            is_new = ~np.isin(manifest.labels, manifests["train"].labels)
            if not is_new.any():
                continue
            names = listed(manifest.label_names[number] for number in np.unique(manifest.labels[is_new]))
            clips = (
                f"{is_new.sum()} of {len(manifest)} {split} clips{of_fold} are of classes that training lacks: {names}"
            )
            if is_new.all():
                raise ValueError(
                    f"{clips}, because groups of column '{self.group}' stay together; give --data.group a column that "
                    f"cuts across the classes, such as subjects or source films"
                )
            self.notes.append(f"{clips}; they count as wrong")

    def _groups(self, manifest: Manifest) -> Int64[np.ndarray, " rows"]:
        assert self.group is not None
        groups = manifest.columns[self.group].numbers
        if (groups < 0).all():
            raise ValueError(f"{manifest.source} has no groups in a column '{self.group}' (--data.group)")
        return groups
