"""Labelled clips for frozen evaluation: three splits with one numbering of classes, cut the same way each time."""

import hashlib
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from typing import Literal, final

import numpy as np
import torch
from torch.utils.data import DataLoader

from vjepa.data.clips.augmentation import RandAugment
from vjepa.data.clips.batch import ClipBatch, ClipCollate
from vjepa.data.clips.dataset import ClipDataset, EvaluationCuts, SourceOfClips, TrainingCuts
from vjepa.data.clips.frame_sampling import FrameSampling
from vjepa.data.loading import decoding_loader
from vjepa.data.manifest.manifest import Manifest, read_manifest
from vjepa.data.order import BatchSampler, MixtureOrder, RowOrder
from vjepa.data.randomness import Purpose, generator_for
from vjepa.data.video.reader import ReaderChain, ReaderName

SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")


@final
class LabelledClips:
    """Clips with classes: heads learn on `train`, are chosen on `val`, and the chosen ones are scored once on `test`.

    Each split is its own manifest, or rows of the training manifest with another value of `split`. Where there is no
    validation split, `val_fraction` of the training rows becomes one: whole groups of `group` where that column is
    given (subjects, source films), so that no person or film is on both sides.

    Where clips are few, `folds` test each of them once (cross-validation): the groups of the training manifest are
    dealt into so many folds, and `of_fold(k)` tests on fold k, chooses on the one after it and learns on the others.

    Args:
        train_manifest, val_manifest, test_manifest: CSV, Parquet or list file, or a folder.
        train_split, val_split, test_split: keep only rows with this value in the manifest's `split` column.
        root: folder that paths in the manifests are relative to.
        label: column with the class.
        group: column of what must not be on both sides of train and val.
        val_fraction: of the training rows, where no validation split is given.
        folds: into how many the groups are dealt; one split if None.
        num_frames: frames of a clip.
        crop_size: height and width of a clip in pixels.
        fps, frame_step, duration: rate of a clip's frames; exactly one of them.
        segments, views: clips over a file's length and crops over its frame in validation and test.
        train_segments, train_views: the same of training clips that are encoded once; those that are encoded anew have
            one view, and their segments have crops and augmentation of their own.
        crop_scale, crop_aspect_ratio, flip_probability, rand_augment, erase_probability: of training clips that are
            encoded anew.
        batch_size: clips that are decoded and encoded at once.
        num_workers: decoding processes.
        seed: of the validation rows and of augmentation.
        readers, decode_time_limit: as for `ClipDataModule`.
    """

    def __init__(
        self,
        train_manifest: str,
        val_manifest: str | None = None,
        test_manifest: str | None = None,
        train_split: str | None = None,
        val_split: str | None = None,
        test_split: str | None = None,
        root: str | None = None,
        label: str = "label",
        group: str | None = None,
        val_fraction: float = 0.2,
        folds: int | None = None,
        num_frames: int = 16,
        crop_size: tuple[int, int] = (224, 224),
        fps: float | None = None,
        frame_step: float | None = None,
        duration: float | None = None,
        segments: int = 1,
        views: int = 1,
        train_segments: int = 1,
        train_views: int = 1,
        crop_scale: tuple[float, float] = (0.08, 1.0),
        crop_aspect_ratio: tuple[float, float] = (0.75, 1.35),
        flip_probability: float = 0.0,
        rand_augment: str | None = None,
        erase_probability: float = 0.0,
        batch_size: int = 32,
        num_workers: int = 2,
        seed: int = 0,
        readers: list[ReaderName] = ["decord", "pyav"],  # noqa: B006 (read only)
        decode_time_limit: float | None = 60.0,
    ):
        counts = {"segments": segments, "views": views, "train_segments": train_segments, "train_views": train_views}
        for name, value in {**counts, "batch_size": batch_size}.items():
            if value < 1:
                raise ValueError(f"{name} ({value}) must be at least 1")
        if not 0 < val_fraction < 1:
            raise ValueError(f"val_fraction ({val_fraction}) must be between 0 and 1; try 0.2")
        self.frames = FrameSampling(num_frames, fps, frame_step, duration)
        self.crop_size = crop_size
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.readers = ReaderChain(readers, decode_time_limit)
        self.cuts: dict[SplitName, EvaluationCuts] = {
            "train": EvaluationCuts(crop_size, train_segments, train_views),
            "val": EvaluationCuts(crop_size, segments, views),
            "test": EvaluationCuts(crop_size, segments, views),
        }
        augment = RandAugment(rand_augment) if rand_augment else None
        self.training_cuts = TrainingCuts(
            crop_size, crop_scale, crop_aspect_ratio, flip_probability, train_segments, augment, erase_probability
        )
        self.unreadable: dict[str, str] = {}  # files that were left out so far, and why
        self.num_folds = folds
        if folds is not None:
            if val_manifest or test_manifest or train_split or val_split or test_split:
                raise ValueError(
                    "folds part the training manifest themselves; drop the recipe's other splits: "
                    "--data.train_split=null --data.val_split=null --data.test_split=null (and manifests)"
                )
            self._whole, self._fold_of_row = _dealt(train_manifest, root, label, group, folds)
            self.manifests = self._manifests_of_fold(0)
            return
        self.manifests = self._read(
            {"train": train_manifest, "val": val_manifest, "test": test_manifest},
            {"train": train_split, "val": val_split, "test": test_split},
            root,
            label,
            group,
            val_fraction,
        )

    @property
    def class_names(self) -> list[str]:
        return self.manifests["train"].label_names

    def of_fold(self, number: int) -> "LabelledClips":
        """The same clips, of which fold `number` is tested and the next one chooses."""
        other = copy(self)
        other.manifests = self._manifests_of_fold(number)
        return other

    def _manifests_of_fold(self, number: int) -> dict[SplitName, Manifest]:
        assert self.num_folds is not None
        is_test = self._fold_of_row == number
        is_val = self._fold_of_row == (number + 1) % self.num_folds
        rows = {"train": ~is_test & ~is_val, "val": is_val, "test": is_test}
        return {split: self._whole.select(np.flatnonzero(rows[split])) for split in SPLITS}

    def with_single_clips(self, num_frames: int) -> "LabelledClips":
        """The same files at the same rate, each cut into one clip of so many frames."""
        duration = self.frames.duration and self.frames.duration * num_frames / self.frames.num_frames
        other = copy(self)
        other.frames = replace(self.frames, num_frames=num_frames, duration=duration)
        other.cuts = {split: EvaluationCuts(self.crop_size) for split in SPLITS}
        return other

    def fingerprint(self) -> str:
        """A hash of all that decides which pixels a clip has: files, their parts, frames, crops."""
        digest = hashlib.sha256(f"{vars(self.frames)} {self.crop_size}".encode())
        for split in SPLITS:
            manifest, cuts = self.manifests[split], self.cuts[split]
            digest.update(f"{split} {cuts.num_segments} {cuts.num_views} {len(manifest)}".encode())
            for path in manifest.paths:
                digest.update(path.encode("utf-8", "surrogateescape") + b"\0")
            digest.update(manifest.labels.tobytes())
            if manifest.windows is not None:
                digest.update(manifest.windows.tobytes())
        return digest.hexdigest()

    def evaluation_batches(
        self,
        split: SplitName,
        rows: np.ndarray,  # (n,) int64, of the split's manifest
    ) -> Iterator[ClipBatch]:
        """All clips of these rows, in this order, the clips of a file together: segment by segment, view by view.

        A file that can't be read is left out, and named in the batch's `failures` and in `unreadable`.
        """
        manifest = self.manifests[split]
        source = SourceOfClips(split, manifest, self.frames)
        order = MixtureOrder([_ListedRows(rows, len(manifest), self.seed)])
        dataset = ClipDataset([source], order, self.cuts[split], self.readers)
        files = max(1, self.batch_size // self.cuts[split].clips_per_video)
        listed = torch.from_numpy(rows)
        for batch in self._loader(dataset, files, len(rows)):
            # A last batch is filled up from the first rows, and an unreadable file is replaced by another row.
            asked = (batch.positions < len(rows)) & (listed[batch.positions % len(rows)] == batch.rows)
            self.unreadable.update({failure.path: failure.reason for failure in batch.failures})
            yield batch._replace(clips=batch.clips[asked], labels=batch.labels[asked], rows=batch.rows[asked])

    def training_batches(
        self,
        rows: np.ndarray,  # (n,) of the training manifest
        batch_size: int,
        num_batches: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> DataLoader:
        """Augmented clips of these rows in shuffled order, for as long as asked."""
        source = SourceOfClips("train", self.manifests["train"].select(rows), self.frames)
        order = MixtureOrder([RowOrder(len(rows), self.seed)])
        dataset = ClipDataset([source], order, self.training_cuts, self.readers)
        return self._loader(dataset, batch_size, batch_size * num_batches, rank, world_size)

    def labelled_rows(
        self,
        amount: int | float | Literal["all"],
        seed: int = 0,
    ) -> np.ndarray:  # (n,) int64, rows of the training split
        """Rows to learn from: so many of each class (a whole number), a share of each class (below 1), or all."""
        labels = self.manifests["train"].labels
        generator = generator_for(seed, Purpose.LABELLED_ROWS)
        chosen = []
        for number in np.unique(labels):
            of_class = generator.permutation(np.flatnonzero(labels == number))
            if amount == "all":
                count = len(of_class)
            else:
                count = int(amount) if amount >= 1 else max(1, round(amount * len(of_class)))
            chosen.append(of_class[:count])
        return np.sort(np.concatenate(chosen))

    def _loader(
        self, dataset: ClipDataset, files: int, num_files: int, rank: int = 0, world_size: int = 1
    ) -> DataLoader:
        num_batches = -(-num_files // files)
        sampler = BatchSampler(files, num_batches, lambda: (0, num_batches), rank, world_size)
        return decoding_loader(dataset, sampler, ClipCollate([], (1, 1, 1), self.seed), self.num_workers)

    def _read(
        self,
        sources: dict[str, str | None],
        splits: dict[str, str | None],
        root: str | None,
        label: str,
        group: str | None,
        val_fraction: float,
    ) -> dict[SplitName, Manifest]:
        train_source = sources["train"]
        assert train_source is not None
        read: dict[SplitName, Manifest] = {}
        for name in SPLITS:
            source, split = sources[name] or train_source, splits[name]
            if split and not sources[name] and not splits["train"]:
                raise ValueError(
                    f"{name}_split ({split}) without a train_split: heads would learn on all rows of {source}, "
                    f"those of {name} too; give a train_split"
                )
            if name == "train" or sources[name] or split:
                read[name] = read_manifest(source, root, split, label)
        if "test" not in read:
            raise ValueError("there are no clips to test on: give a test_manifest, or a test_split of the manifest")
        given = {name: _labelled(manifest, label) for name, manifest in read.items()}
        if "val" not in given:
            groups = None
            if group is not None:
                groups = _groups(read_manifest(train_source, root, splits["train"], group), group)
                groups = groups[read["train"].labels >= 0]
            given["train"], given["val"] = self._hold_out(given["train"], groups, val_fraction)
        class_names = _all_names([manifest.label_names for manifest in given.values()])
        return {name: manifest.numbered_as(class_names) for name, manifest in given.items()}

    def _hold_out(self, train: Manifest, groups: np.ndarray | None, val_fraction: float) -> tuple[Manifest, Manifest]:
        """Training and validation rows. Without groups, `val_fraction` of each class; with them, whole groups."""
        generator = generator_for(self.seed, Purpose.LABELLED_ROWS, 1)
        is_val = np.zeros(len(train), bool)
        if groups is None:
            for number in np.unique(train.labels):
                of_class = generator.permutation(np.flatnonzero(train.labels == number))
                count = max(1, round(val_fraction * len(of_class)))
                is_val[of_class[: min(count, len(of_class) - 1)]] = True  # a class's only clip is learned from
        else:
            for number in generator.permutation(np.unique(groups)):
                if is_val.sum() >= val_fraction * len(train):
                    break
                is_val |= groups == number
        if is_val.all() or not is_val.any():
            raise ValueError(
                f"{len(train)} training clips can't be parted into training and validation clips; "
                f"give a val_manifest or a val_split"
            )
        return train.select(np.flatnonzero(~is_val)), train.select(np.flatnonzero(is_val))


def _dealt(
    source: str, root: str | None, label: str, group: str | None, folds: int
) -> tuple[Manifest, np.ndarray]:  # all labelled rows, (rows,) int64 number of the fold
    if group is None:
        raise ValueError("folds need groups: name the column of what must not be on both sides with --data.group")
    whole = read_manifest(source, root, None, label)
    groups = _groups(read_manifest(source, root, None, group), group)[whole.labels >= 0]
    numbers, of_row = np.unique(groups, return_inverse=True)
    if not 3 <= folds <= len(numbers):
        raise ValueError(
            f"folds ({folds}) must be at least 3 (to learn, to choose, to test) and at most the number of groups in "
            f"column '{group}' ({len(numbers)})"
        )
    return _labelled(whole, label), of_row % folds


def _labelled(manifest: Manifest, column: str) -> Manifest:
    if (manifest.labels < 0).all():
        raise ValueError(f"{manifest.source} has no classes in a column '{column}'; a probe needs them (--data.label)")
    # What has no class can't be learned from, nor scored.
    return manifest.select(np.flatnonzero(manifest.labels >= 0))


def _groups(manifest: Manifest, column: str) -> np.ndarray:  # (rows,) int64
    if (manifest.labels < 0).all():
        raise ValueError(f"{manifest.source} has no groups in a column '{column}' (--data.group)")
    return manifest.labels


def _all_names(lists: Sequence[list[str]]) -> list[str]:
    """One list for all splits. Whole numbers keep their order, so that a class stays its number."""
    longest = max(lists, key=len)
    if all(names == longest[: len(names)] for names in lists):
        return longest
    return sorted({name for names in lists for name in names})


class _ListedRows(RowOrder):
    """Some rows of a manifest, as listed; what stands in for an unreadable file is drawn from all its rows."""

    def __init__(self, rows: np.ndarray, num_rows: int, seed: int):
        super().__init__(num_rows, seed, shuffle=False)
        self.rows = rows

    def row(self, place: int) -> int:
        return int(self.rows[place % len(self.rows)])

    def __getstate__(self) -> dict[str, object]:
        return {"rows": self.rows, "num_rows": self.num_rows, "seed": self.seed}
