"""A data module whose order survives interruption: the part that clips and episodes share (LightningDataModule).

A run consumes an endless sequence of positions (`vjepa.data.order`). A checkpoint stores the position of the next
batch, so that a resumed run repeats the unbroken one bit for bit, on any number of ranks and workers. Lightning's
epochs only divide the sequence; the trainer's flags that change their length are read here and nowhere else.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from lightning.pytorch import LightningDataModule, Trainer
from torch.utils.data import DataLoader, Dataset

from vjepa.data.loading import decoding_loader
from vjepa.data.order import BatchSampler


@dataclass(frozen=True)
class Cursor:
    """The state of a run in its sequence of positions."""

    position: int = 0  # of the next global batch
    batches_into_epoch: int = 0


class OrderedDataModule(LightningDataModule):
    """Subclasses implement the properties without a body, and build their loaders with `training_loader` and
    `evaluation_loader`."""

    global_batch_size: int  # samples per batch, over all ranks
    num_workers: int

    def __init__(self) -> None:
        super().__init__()
        self.cursor = Cursor()
        self._recent: dict[int, Cursor] = {}  # by number of trained batches

    @property
    @abstractmethod
    def group(self) -> tuple[str, int]:
        """Name and value of the parameter that sets the size of a group: samples of a batch that stay on one rank."""

    @property
    @abstractmethod
    def positions_per_batch(self) -> int: ...

    @property
    @abstractmethod
    def batches_per_epoch(self) -> int: ...

    @property
    def position_alignment(self) -> int:
        """A batch starts at a multiple of this position, even after a change of the batch size."""
        return 1

    @property
    def epoch_length(self) -> int:
        """Batches of an epoch of this run: all, or as many as limit_train_batches (or overfit_batches) leaves."""
        limit, batches = self._flags.limit_train_batches if self.trainer else None, self.batches_per_epoch
        if limit is None:
            return batches
        return max(1, min(limit, batches) if isinstance(limit, int) else int(limit * batches))

    @property
    def repeats_batches(self) -> bool:
        """Whether every epoch has the batches of the first: overfit_batches."""
        return self.trainer is not None and bool(self._flags.overfit_batches > 0)  # type: ignore[attr-defined]

    def check_batch_size(self, num_ranks: int = 1) -> None:
        """Raise ValueError where a global batch can't be split into whole groups on each rank."""
        name, size = self.group
        for parameter, value in {"global_batch_size": self.global_batch_size, name: size}.items():
            if value < 1:
                raise ValueError(f"{parameter} ({value}) must be at least 1")
        whole = size * num_ranks
        if self.global_batch_size % whole:
            factors = [f"the number of ranks ({num_ranks})"] * (num_ranks > 1) + [f"{name} ({size})"] * (size > 1)
            raise ValueError(
                f"global_batch_size ({self.global_batch_size}) must be a multiple of {' times '.join(factors)}; "
                f"try {-(-self.global_batch_size // whole) * whole}"
            )

    def training_loader(self, dataset: Dataset[Any], collate: Callable[[Any], Any]) -> DataLoader[Any]:
        """The rest of the current epoch."""
        self.check_batch_size(self.world_size)
        accumulated = self._flags.accumulate_grad_batches if self.trainer else 1
        if accumulated > self.epoch_length:  # a step never spans two epochs
            raise ValueError(
                f"accumulate_grad_batches ({accumulated}) must be at most the number of batches in an epoch "
                f"({self.epoch_length}); give more data or a smaller global_batch_size, or "
                f"--trainer.accumulate_grad_batches={self.epoch_length}"
            )
        return self._loader(dataset, collate, self.positions_per_batch, self.batches_per_epoch, self._remaining)

    def evaluation_loader(
        self, dataset: Dataset[Any], collate: Callable[[Any], Any], num_positions: int, positions_per_batch: int
    ) -> DataLoader[Any]:
        """Every position once; the last batch is filled up from the first ones."""
        size = -(-positions_per_batch // self.world_size) * self.world_size
        return self._loader(dataset, collate, size, -(-num_positions // size))

    def predict_dataloader(self) -> DataLoader[Any]:
        return self.val_dataloader()

    def test_dataloader(self) -> DataLoader[Any]:
        return self.val_dataloader()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if self._run.training:
            after = self.cursor_after(batch)
            self._recent = {self._trained_batches: self.cursor, self._trained_batches + 1: after}
            self.cursor = after
        return batch

    def cursor_after(self, batch: Any) -> Cursor:
        return replace(
            self.cursor,
            position=self._aligned_position + self.positions_per_batch,
            batches_into_epoch=(self._batches_into_epoch + 1) % self.epoch_length,
        )

    def state_dict(self) -> dict[str, Any]:
        cursor = self.trained_cursor
        return {"position": cursor.position, "batches_into_epoch": cursor.batches_into_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.cursor = Cursor(state_dict["position"], state_dict["batches_into_epoch"])

    @property
    def trained_cursor(self) -> Cursor:
        """The state after the last trained batch. A pre-emption may checkpoint between a batch's arrival and its step;
        that batch comes again."""
        return self._recent.get(self._trained_batches, self.cursor)

    @property
    def _run(self) -> Trainer:
        assert self.trainer is not None  # Lightning attaches it before it calls any hook
        return self.trainer

    @property
    def _flags(self) -> Trainer:
        return self._run.fit_loop.trainer

    @property
    def world_size(self) -> int:
        return 1 if self.trainer is None else self.trainer.world_size

    @property
    def _aligned_position(self) -> int:
        return -(-self.cursor.position // self.position_alignment) * self.position_alignment

    @property
    def _batches_into_epoch(self) -> int:
        # Another batch size or limit makes an epoch shorter, maybe shorter than what the run has consumed of it.
        return min(self.cursor.batches_into_epoch, self.epoch_length - 1)

    def _remaining(self) -> tuple[int, int]:
        into_epoch = self._batches_into_epoch
        start = into_epoch * self.positions_per_batch if self.repeats_batches else self._aligned_position
        return start, self.epoch_length - into_epoch

    @property
    def _trained_batches(self) -> int:
        return int(self._run.fit_loop.epoch_loop.batch_progress.total.processed)  # type: ignore[attr-defined]

    def _loader(
        self,
        dataset: Dataset[Any],
        collate: Callable[[Any], Any],
        batch_size: int,
        num_batches: int,
        remaining: Callable[[], tuple[int, int]] | None = None,
    ) -> DataLoader[Any]:
        rank = 0 if self.trainer is None else self.trainer.global_rank
        sampler = BatchSampler(batch_size, num_batches, remaining, rank, self.world_size)
        return decoding_loader(dataset, sampler, collate, self.num_workers, persistent_workers=True)
