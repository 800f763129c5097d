"""Clips for heads on frozen features: three splits of manifests, cut the same way each time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch.utils.data import DataLoader

from vjepa.data.clips.batch import ClipBatch, collate_clips
from vjepa.data.clips.cuts import Cuts
from vjepa.data.clips.dataset import ClipDataset, ClipSource
from vjepa.data.clips.frame_sampling import FrameSampling
from vjepa.data.clips.settings import ClipSettings
from vjepa.data.loading import decoding_loader
from vjepa.data.manifest.manifest import Manifest, read_manifest
from vjepa.data.order import BatchSampler, MixtureOrder, RowOrder
from vjepa.data.randomness import Purpose, generator_for
from vjepa.data.video.reader import ReaderChain
from vjepa.data.video.video_cache import VideoCache

SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")


@dataclass(kw_only=True, eq=False, repr=False)
class EvaluationClips(ClipSettings):
    """Heads learn on `train`, are selected on `val`, and the selected ones are scored once on `test`.

    Each split is its own manifest, or rows of the training manifest with another value of `split`. Without a
    validation split, `val_fraction` of the training rows becomes one.

    Args:
        group: column whose groups must not be split between training and validation.
        val_fraction: fraction of the training rows to validate on, where no validation split is given.
        batch_size: clips to decode and encode at once.
    """

    train_manifest: str = field()
    group: str | None = None
    val_fraction: float = 0.2
    crop_scale: tuple[float, float] = (0.08, 1.0)
    flip_probability: float = 0.0
    batch_size: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_positive("batch_size")
        if not 0 < self.val_fraction < 1:
            raise ValueError(f"val_fraction ({self.val_fraction}) must be between 0 and 1; try 0.2")
        self.readers_of_clips: ReaderChain | VideoCache = self.reader_chain
        self.unreadable: dict[str, str] = {}  # reasons by path of the files left out so far

    def read_split(self, split: SplitName, label_columns: Sequence[str]) -> Manifest | None:
        """None for a split that is not given."""
        source, part = getattr(self, f"{split}_manifest"), getattr(self, f"{split}_split")
        if part and not source and not self.train_split:
            raise ValueError(
                f"{split}_split ({part}) without a train_split: heads would learn on all rows of "
                f"{self.train_manifest}, those of {split} too; give a train_split"
            )
        if not (source or part):
            if split == "test":
                raise ValueError("there are no clips to test on: give a test_manifest, or a test_split of the manifest")
            return None
        return read_manifest(source or self.train_manifest, self.root, part, label_columns)

    def hold_out(
        self, train: Manifest, is_held_out: Bool[np.ndarray, " rows"], split: SplitName = "val"
    ) -> tuple[Manifest, Manifest]:
        """The other training rows, and those that are held out."""
        if is_held_out.all() or not is_held_out.any():
            kind = "validation" if split == "val" else "test"
            raise ValueError(
                f"{len(train)} training rows can't be split into training and {kind} rows; "
                f"give a {split}_manifest or a {split}_split"
            )
        return train.select(np.flatnonzero(~is_held_out)), train.select(np.flatnonzero(is_held_out))

    def held_out_groups(self, groups: np.ndarray, split: SplitName = "val") -> Bool[np.ndarray, " rows"]:
        """Whole groups in random order, until they have the split's share of the rows."""
        share, stream = self._held_out_share(split)
        is_held_out = np.zeros(len(groups), bool)
        for group in generator_for(self.seed, Purpose.LABELLED_ROWS, stream).permutation(np.unique(groups)):
            if is_held_out.sum() >= share * len(groups):
                break
            is_held_out |= groups == group
        return is_held_out

    def _held_out_share(self, split: SplitName) -> tuple[float, int]:
        """Share of the rows, and the number of the random stream that selects them."""
        return self.val_fraction, 1

    def ordered_batches(
        self, manifest: Manifest, frames: FrameSampling, cuts: Cuts, rows: Int64[np.ndarray, " n"], files: int
    ) -> Iterator[ClipBatch]:
        """All clips of these rows, in this order, so many files at a time.

        An unreadable file is left out, and listed in the batch's `failures` and in `unreadable`.
        """
        dataset = self._dataset(manifest, frames, cuts, ListedRows(rows, len(manifest), self.seed))
        listed = torch.from_numpy(rows)
        batch: ClipBatch
        for batch in self._loader(dataset, files, -(-len(rows) // files)):
            # The last batch is filled up from the first rows, and an unreadable file is replaced by another row.
            asked = (batch.positions < len(rows)) & (listed[batch.positions % len(rows)] == batch.rows)
            self.unreadable.update({failure.path: failure.reason for failure in batch.failures})
            parts: Iterator[Any] = (part[asked] if isinstance(part, torch.Tensor) else part for part in batch)
            yield ClipBatch(*parts)

    def shuffled_batches(
        self,
        manifest: Manifest,
        frames: FrameSampling,
        cuts: Cuts,
        batch_size: int,
        num_batches: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> DataLoader[Any]:
        dataset = self._dataset(manifest, frames, cuts, RowOrder(len(manifest), self.seed))
        return self._loader(dataset, batch_size, num_batches, rank, world_size)

    def _dataset(self, manifest: Manifest, frames: FrameSampling, cuts: Cuts, order: RowOrder) -> ClipDataset:
        source = ClipSource(str(manifest.source), manifest, frames)
        return ClipDataset([source], MixtureOrder([order]), cuts, self.readers_of_clips)

    def _loader(
        self, dataset: ClipDataset, batch_size: int, num_batches: int, rank: int = 0, world_size: int = 1
    ) -> DataLoader[Any]:
        sampler = BatchSampler(batch_size, num_batches, None, rank, world_size)
        return decoding_loader(dataset, sampler, collate_clips, self.num_workers)


class ListedRows(RowOrder):
    """Some rows of a manifest, as listed. The replacement of an unreadable file is drawn from all rows."""

    def __init__(self, rows: Int64[np.ndarray, " n"], num_rows: int, seed: int):
        super().__init__(num_rows, seed, shuffle=False)
        self.rows = rows

    def row(self, index: int) -> int:
        return int(self.rows[index % len(self.rows)])
