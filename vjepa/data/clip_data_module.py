"""Clips for training and validation, with an order that survives interruption (LightningDataModule)."""

from pathlib import Path
from typing import NamedTuple

import cv2
import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch.utils.data import DataLoader

from vjepa.data.batch import ClipBatch, ClipCollate
from vjepa.data.clips import ClipDataset
from vjepa.data.manifest import Manifest, read_manifest
from vjepa.data.order import BatchSampler, ClipOrder
from vjepa.data.quarantine import Quarantine
from vjepa.data.randomness import Purpose, generator_for
from vjepa.grid import TokenGrid
from vjepa.masking import MaskStrategy


class Place(NamedTuple):
    """Where a run is in its order of clips."""

    position: int  # of the next global batch
    batches_into_epoch: int


class ClipDataModule(LightningDataModule):
    """Clips of one shape from manifests of video files, with masks.

    Args:
        train_manifest: CSV file with a `path` column, or a folder of videos.
        val_manifest: the same for validation (and for `predict`); no validation if None.
        test_manifest: the same for `test`.
        root: folder that paths in the manifests are relative to; each manifest's own folder if None.
        train_split, val_split, test_split: keep only rows with this value in the manifest's `split` column.
        num_frames: frames of a clip.
        crop_size: height and width of a clip in pixels.
        fps: frames per second of a clip. Give either this or `frame_step`.
        frame_step: frames of the file from one clip frame to the next.
        crop_scale: range of the share of a frame's area that a training crop takes.
        crop_aspect_ratio: range of a training crop's width over height.
        flip_share: share of training clips that are mirrored.
        masks: mask strategies; each draws one mask per clip.
        tubelet: frames, height and width of a token; linked to the encoder's.
        global_batch_size: clips per batch over all ranks together (an optimizer step takes `accumulate_grad_batches`).
        num_workers: decoding processes per rank.
        seed: of order, frames, crops, flips and masks.
        max_bad_share: share of unreadable files above which the run stops.
    """

    def __init__(
        self,
        train_manifest: Path,
        masks: list[MaskStrategy],
        val_manifest: Path | None = None,
        test_manifest: Path | None = None,
        root: Path | None = None,
        train_split: str | None = None,
        val_split: str | None = None,
        test_split: str | None = None,
        num_frames: int = 16,
        crop_size: tuple[int, int] = (224, 224),
        fps: float | None = None,
        frame_step: float | None = None,
        crop_scale: tuple[float, float] = (0.3, 1.0),
        crop_aspect_ratio: tuple[float, float] = (0.75, 1.35),
        flip_share: float = 0.5,
        tubelet: tuple[int, int, int] = (2, 16, 16),
        global_batch_size: int = 64,
        num_workers: int = 2,
        seed: int = 0,
        max_bad_share: float = 0.2,
    ):
        super().__init__()
        self.grid = TokenGrid.of_clip((num_frames, *crop_size), tubelet)
        if not masks:
            raise ValueError("masks is empty; give at least one mask strategy")
        if len(masks) > self.grid.num_tokens:
            raise ValueError(
                f"{len(masks)} masks are more than the clip's {self.grid.num_tokens} tokens "
                f"(token grid {self.grid.frames}x{self.grid.height}x{self.grid.width}); use fewer masks or larger clips"
            )
        if (fps is None) == (frame_step is None):
            raise ValueError(f"give exactly one of fps ({fps}) and frame_step ({frame_step})")
        if global_batch_size < 1:
            raise ValueError(f"global_batch_size ({global_batch_size}) must be at least 1")
        self.train_manifest = train_manifest
        self.val_manifest = val_manifest
        self.test_manifest = test_manifest
        self.root = root
        self.train_split = train_split
        self.val_split = val_split
        self.test_split = test_split
        self.num_frames = num_frames
        self.crop_size = crop_size
        self.fps = fps
        self.frame_step = frame_step
        self.crop_scale = crop_scale
        self.crop_aspect_ratio = crop_aspect_ratio
        self.flip_share = flip_share
        self.global_batch_size = global_batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.max_bad_share = max_bad_share
        self.collate = ClipCollate(masks, self.grid, seed)
        for draw in masks:  # an impossible mask is refused here, not in a worker
            draw(self.grid, generator_for(0, Purpose.MASK_OF_BATCH), [generator_for(0, Purpose.MASK_OF_CLIP)])
        self.place = Place(position=0, batches_into_epoch=0)
        self._place_after: dict[int, Place] = {}  # by how many batches Lightning has trained on

    def setup(self, stage: str) -> None:
        """Read the manifests that a stage needs. Raises ValueError where one was not given or is of no use."""
        if stage in ("validate", "predict") and self.val_manifest is None:
            raise ValueError("there are no clips to validate or predict on: give --data.val_manifest")
        if stage == "test" and self.test_manifest is None:
            raise ValueError("there are no clips to test on: give --data.test_manifest")
        if stage == "fit":
            self.train = read_manifest(self.train_manifest, self.root, self.train_split)
            folder = Path(self._run.log_dir or self._run.default_root_dir)
            self.quarantine = Quarantine(folder / "quarantine.csv", len(self.train), self.max_bad_share)
        if stage == "test" and self.test_manifest is not None:
            self.test = read_manifest(self.test_manifest, self.root, self.test_split)
        elif self.val_manifest is not None:
            self.val = read_manifest(self.val_manifest, self.root, self.val_split)

    @property
    def batches_per_epoch(self) -> int:
        """An epoch is as many whole global batches as the manifest has clips for, at least one."""
        return max(1, len(self.train) // self.global_batch_size)

    def train_dataloader(self) -> DataLoader:
        return self._loader(
            self._dataset(self.train, shuffle=True, augment=True), self.batches_per_epoch, self._remaining_of_epoch
        )

    def val_dataloader(self) -> DataLoader | list:
        return [] if self.val_manifest is None else self._loader_of_all(self.val)

    def predict_dataloader(self) -> DataLoader:
        return self._loader_of_all(self.val)

    def test_dataloader(self) -> DataLoader:
        return self._loader_of_all(self.test)

    def on_after_batch_transfer(self, batch: ClipBatch, dataloader_idx: int) -> ClipBatch:
        if self._run.training:
            batches_into_epoch = (self.place.batches_into_epoch + 1) % self.batches_per_epoch
            after = Place(batch.next_position, batches_into_epoch)
            self._place_after = {self._trained_batches: self.place, self._trained_batches + 1: after}
            self.place = after
            self.quarantine.add(batch.failures)
        return batch

    def state_dict(self) -> dict[str, int]:
        # A checkpoint may be asked for between a batch's arrival and its step (pre-emption): it is not trained on yet.
        return self._place_after.get(self._trained_batches, self.place)._asdict()

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.place = Place(**state_dict)

    @property
    def _trained_batches(self) -> int:
        return self._run.fit_loop.epoch_loop.batch_progress.total.processed  # type: ignore[attr-defined]

    @property
    def _run(self) -> Trainer:
        assert self.trainer is not None  # Lightning attaches it before it calls any hook
        return self.trainer

    def _remaining_of_epoch(self) -> tuple[int, int]:
        # After a change of the batch size the epoch may have become shorter than what was already seen of it.
        return self.place.position, max(1, self.batches_per_epoch - self.place.batches_into_epoch)

    def _loader_of_all(self, manifest: Manifest) -> DataLoader:
        """Every row once, as listed; the last batch is filled up from the first rows."""
        num_batches = -(-len(manifest) // self.global_batch_size)
        dataset = self._dataset(manifest, shuffle=False, augment=False)
        return self._loader(dataset, num_batches, lambda: (0, num_batches))

    def _dataset(self, manifest: Manifest, shuffle: bool, augment: bool) -> ClipDataset:
        return ClipDataset(
            manifest,
            ClipOrder(len(manifest), self.seed, shuffle),
            num_frames=self.num_frames,
            crop_size=self.crop_size,
            fps=self.fps,
            frame_step=self.frame_step,
            crop_scale=self.crop_scale,
            crop_aspect_ratio=self.crop_aspect_ratio,
            flip_share=self.flip_share,
            augment=augment,
        )

    def _loader(self, dataset: ClipDataset, num_batches: int, remaining) -> DataLoader:
        sampler = BatchSampler(
            self.global_batch_size, num_batches, remaining, self._run.global_rank, self._run.world_size
        )
        return DataLoader(
            dataset,
            batch_sampler=sampler,
            collate_fn=self.collate,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_one_thread,
        )


def _one_thread(worker: int) -> None:
    cv2.setNumThreads(1)
