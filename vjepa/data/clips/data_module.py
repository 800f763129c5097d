"""Clips for pretraining, with an order that survives interruption (LightningDataModule)."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch.utils.data import DataLoader

from vjepa.data.clips.batch import ClipBatch, MaskingCollate
from vjepa.data.clips.cuts import EvaluationCuts
from vjepa.data.clips.dataset import ClipDataset, ClipSource
from vjepa.data.clips.frame_sampling import FrameSampling
from vjepa.data.clips.quarantine import Quarantine
from vjepa.data.clips.settings import ClipSettings
from vjepa.data.clips.views import ViewSettings
from vjepa.data.manifest.manifest import read_manifest
from vjepa.data.order import MixtureOrder, RowOrder
from vjepa.data.ordered_data_module import Cursor, OrderedDataModule
from vjepa.data.randomness import Purpose, generator_for
from vjepa.data.video.video_cache import VideoCache
from vjepa.grid import TokenGrid
from vjepa.masking import MaskStrategy


@dataclass(frozen=True)
class Source:
    """One dataset of a mixture. What is None is taken from the data module.

    Args:
        manifest: CSV, Parquet or list file, or a folder of videos or images.
        weight: proportion of the clips from this source.
        name: in logs and in the quarantine; the manifest's file name if None.
        root: folder that paths in the manifest are relative to.
        split: use only rows with this value in the manifest's `split` column.
        num_frames: frames of a clip. Sources with other numbers come in separate batches; with 1, where the encoder has
            an image tokenizer, its files are images (or single frames of videos).
        fps: frames per second of a clip. Give at most one of this, `frame_step` and `duration`.
        frame_step: frames of the file from one clip frame to the next.
        duration: seconds that a clip covers.
    """

    manifest: str
    weight: float = 1.0
    name: str | None = None
    root: str | None = None
    split: str | None = None
    num_frames: int | None = None
    fps: float | None = None
    frame_step: float | None = None
    duration: float | None = None

    @property
    def title(self) -> str:
        return self.name or Path(self.manifest).stem


class Usage(NamedTuple):
    """Clips of a source that a run has consumed, and the seconds of video that they cover."""

    clips: int
    seconds: float


@dataclass(frozen=True)
class ClipCursor(Cursor):
    """Also counts the clips and seconds of each source on this rank."""

    clips: tuple[int, ...] = ()
    seconds: tuple[float, ...] = ()


@dataclass(kw_only=True, eq=False, repr=False)
class ClipDataModule(ClipSettings, OrderedDataModule):
    """Clips from manifests of video files, with masks and views; each batch holds clips of one shape.

    `predict` takes the clips of validation.

    Args:
        masks: mask strategies; each draws one mask per clip. May be empty where there are views.
        views: of each clip, for objectives that compare them, also in validation.
        mixture: several sources with weights, instead of `train_manifest`.
        frame_step: frames of the file from one clip frame to the next. Give exactly one of this, `fps` and `duration`.
        duration: seconds that a clip covers.
        temporal_jitter: fraction of a step by which the frames of a training clip are moved at random.
        clips_per_video: training clips cut from a file at once.
        color_jitter: strength of random colours, contrasts and negatives of training clips; none at 0.
        eval_segments: clips over a file's length, in evaluation.
        eval_views: crops over a frame, in evaluation.
        image_masks: mask strategies for batches of images; `masks` if None.
        tubelet: frames, height and width of a token; linked to the encoder's.
        image_tokenizer: whether the encoder treats clips of one frame as images; linked to the encoder's.
        global_batch_size: clips per batch over all ranks (an optimizer step takes `accumulate_grad_batches`).
        max_bad_fraction: maximal fraction of a source's files that may be unreadable before the run stops.
        cache_gigabytes: memory per decoding process for decoded training videos. Small datasets are decoded once and
            not in every epoch.
    """

    masks: list[MaskStrategy]
    views: list[ViewSettings] | None = None
    mixture: list[Source] | None = None
    frame_step: float | None = None
    duration: float | None = None
    temporal_jitter: float = 0.0
    clips_per_video: int = 1
    color_jitter: float = 0.0
    eval_segments: int = 1
    eval_views: int = 1
    image_masks: list[MaskStrategy] | None = None
    tubelet: tuple[int, int, int] = (2, 16, 16)
    image_tokenizer: bool = False
    global_batch_size: int = 64
    max_bad_fraction: float = 0.2
    cache_gigabytes: float = 0.0

    def __post_init__(self) -> None:
        OrderedDataModule.__init__(self)
        super().__post_init__()
        self.grid = TokenGrid.of_clip((self.num_frames, *self.crop_size), self.tubelet)
        if not self.masks and not self.views:
            raise ValueError("masks is empty; give at least one mask strategy, or `views` to compare")
        check_masks(self.masks, self.grid)
        check_crops(self.views or [], self.num_frames, self.tubelet)
        if not 0 <= self.color_jitter <= 1:
            raise ValueError(f"color_jitter ({self.color_jitter}) must be between 0 and 1")
        self.require_positive("eval_segments", "eval_views")
        if self.cache_gigabytes < 0:
            raise ValueError(f"cache_gigabytes ({self.cache_gigabytes}) must be at least 0, which caches nothing")
        self.check_batch_size()
        if self.train_manifest is not None and self.mixture:
            raise ValueError(
                "give either train_manifest or mixture, not both; --data.mixture=null drops a recipe's mixture"
            )
        self.frames = FrameSampling(self.num_frames, self.fps, self.frame_step, self.duration, self.temporal_jitter)
        self.training_sources = self.mixture or (
            [] if self.train_manifest is None else [Source(self.train_manifest, split=self.train_split)]
        )
        self._check_sources()
        self.training_cuts = self.random_cuts(self.clips_per_video, self.color_jitter)
        self.evaluation_cuts = EvaluationCuts(self.crop_size, self.eval_segments, self.eval_views)
        image_masks = (self.image_masks or self.masks) if self.image_tokenizer else None
        self.collate = MaskingCollate(self.masks, self.tubelet, self.seed, image_masks, self.views or ())
        nothing = tuple(0 for _ in self.training_sources)
        self.cursor: ClipCursor = ClipCursor(clips=nothing, seconds=nothing)

    def _check_sources(self) -> None:
        for source in self.training_sources:
            if not source.weight > 0:
                raise ValueError(f"the weight of {source.title} ({source.weight}) must be more than 0")
            num_frames = self._sampling(source).num_frames
            if self.image_tokenizer and num_frames == 1:
                grid = TokenGrid.of_clip((1, *self.crop_size), (1, *self.tubelet[1:]))
                check_masks(self.image_masks or self.masks, grid)
            else:
                TokenGrid.of_clip((num_frames, *self.crop_size), self.tubelet)
        names = [source.title for source in self.training_sources]
        if len(set(names)) < len(names):
            raise ValueError(f"two sources of the mixture have one name ({', '.join(names)}); give each a `name`")

    def setup(self, stage: str) -> None:
        """Read the manifests of a stage. Raises ValueError where one is missing or of no use."""
        if stage == "fit":
            if not self.training_sources:
                raise ValueError("there are no clips to train on: give --data.train_manifest or --data.mixture")
            self.train = [self._read(source) for source in self.training_sources]
            self.order = self._training_order()
        elif stage in ("validate", "predict") and self.val_manifest is None:
            raise ValueError("there are no clips to validate or predict on: give --data.val_manifest")
        elif stage == "test" and self.test_manifest is None:
            raise ValueError("there are no clips to test on: give --data.test_manifest")
        name, manifest, split = (
            ("test", self.test_manifest, self.test_split)
            if stage == "test"
            else ("validation", self.val_manifest, self.val_split)
        )
        self.evaluated = None if manifest is None else self._read(Source(manifest, name=name, split=split))
        self.quarantine = self._quarantine(self.train if stage == "fit" else [])
        self._evaluation_quarantine = self._quarantine([self.evaluated] if self.evaluated is not None else [])

    @property
    def group(self) -> tuple[str, int]:
        return "clips_per_video", self.clips_per_video

    @property
    def positions_per_batch(self) -> int:  # files
        return self.global_batch_size // self.clips_per_video

    @property
    def batches_per_epoch(self) -> int:
        """An epoch is as many whole global batches as the manifests have files for, at least one."""
        return max(1, sum(len(source.manifest) for source in self.train) // self.positions_per_batch)

    @property
    def position_alignment(self) -> int:
        return self.positions_per_batch if self.order.num_groups > 1 else 1  # a batch has clips of one shape

    def train_dataloader(self) -> DataLoader[Any]:
        readers = VideoCache(self.reader_chain, self.cache_gigabytes) if self.cache_gigabytes else self.reader_chain
        return self.training_loader(
            ClipDataset(self.train, self.order, self.training_cuts, readers, self.views or ()), self.collate
        )

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Every row once, as listed."""
        if self.evaluated is None:
            return []
        num_rows = len(self.evaluated.manifest)
        order = MixtureOrder([RowOrder(num_rows, self.seed, shuffle=False)])
        dataset = ClipDataset([self.evaluated], order, self.evaluation_cuts, self.reader_chain, self.views or ())
        num_files = max(1, self.global_batch_size // self.evaluation_cuts.clips_per_video)
        return self.evaluation_loader(dataset, self.collate, num_rows, num_files)

    def transfer_batch_to_device(self, batch: ClipBatch, device: torch.device, dataloader_idx: int) -> ClipBatch:
        """What is counted here stays on the host: to read it back would wait for the device in each step."""
        moved: ClipBatch = super().transfer_batch_to_device(batch, device, dataloader_idx)
        return moved._replace(sources=batch.sources, seconds=batch.seconds)

    def on_after_batch_transfer(self, batch: ClipBatch, dataloader_idx: int) -> ClipBatch:
        quarantine = self.quarantine if self._run.training else self._evaluation_quarantine
        super().on_after_batch_transfer(batch, dataloader_idx)
        quarantine.add(batch.failures)
        return batch

    def cursor_after(self, batch: ClipBatch) -> ClipCursor:
        sources, seconds = batch.sources.cpu().numpy(), batch.seconds.cpu().numpy()
        clips = np.bincount(sources, minlength=len(self.train)) + self.cursor.clips
        seconds = np.bincount(sources, seconds, minlength=len(self.train)) + self.cursor.seconds
        after = cast(ClipCursor, super().cursor_after(batch))
        return replace(after, clips=tuple(clips.tolist()), seconds=tuple(seconds.tolist()))

    def usage(self) -> dict[str, Usage]:
        """What the run has consumed of each source so far, over all ranks, by the source's name."""
        return self._usage_at(self.cursor)

    def state_dict(self) -> dict[str, Any]:
        usage = self._usage_at(cast(ClipCursor, self.trained_cursor))
        return super().state_dict() | {"usage": {name: seen._asdict() for name, seen in usage.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        nothing = Usage(0, 0.0)._asdict()  # of a new source
        usage = [state_dict["usage"].get(source.title, nothing) for source in self.training_sources]
        clips, seconds = (tuple(seen[name] for seen in usage) for name in Usage._fields)
        self.cursor = ClipCursor(state_dict["position"], state_dict["batches_into_epoch"], clips, seconds)

    def _usage_at(self, cursor: ClipCursor) -> dict[str, Usage]:
        # Clips follow from the position. Seconds are those of this rank, scaled to the clips of all ranks.
        counts = self.order.counts_before(cursor.position)
        if self.repeats_batches:
            positions = self.epoch_length * self.positions_per_batch
            epochs, rest = divmod(cursor.position, positions)
            counts = epochs * self.order.counts_before(positions) + self.order.counts_before(rest)
        clips = counts * self.clips_per_video
        return {
            source.title: Usage(total, seconds * (total / max(1, on_rank)))
            for source, total, on_rank, seconds in zip(
                self.training_sources, clips.tolist(), cursor.clips, cursor.seconds, strict=True
            )
        }

    def _sampling(self, source: Source) -> FrameSampling:
        num_frames = source.num_frames or self.frames.num_frames
        if (source.fps, source.frame_step, source.duration) == (None, None, None):
            return replace(self.frames, num_frames=num_frames)
        return FrameSampling(num_frames, source.fps, source.frame_step, source.duration, self.frames.temporal_jitter)

    def _read(self, source: Source) -> ClipSource:
        manifest = read_manifest(source.manifest, source.root or self.root, source.split)
        return ClipSource(source.title, manifest, self._sampling(source))

    def _training_order(self) -> MixtureOrder:
        orders = [RowOrder(len(source.manifest), self.seed, source=k) for k, source in enumerate(self.train)]
        lengths = sorted({source.frames.num_frames for source in self.train})
        groups = [lengths.index(source.frames.num_frames) for source in self.train]
        weights = [source.weight for source in self.training_sources]
        return MixtureOrder(orders, weights, groups, self.positions_per_batch)

    def _quarantine(self, sources: list[ClipSource]) -> Quarantine:
        folder = Path(self._run.log_dir or self._run.default_root_dir)
        num_files = {source.name: len(source.manifest) for source in sources}
        return Quarantine(folder / "quarantine.csv", num_files, self.max_bad_fraction)


def check_masks(masks: list[MaskStrategy], grid: TokenGrid) -> None:
    """Raise ValueError where these masks can't be drawn on this grid: here, not in a worker."""
    if len(masks) > grid.num_tokens:
        raise ValueError(
            f"{len(masks)} masks are more than the clip's {grid.num_tokens} tokens "
            f"(token grid {grid.frames}x{grid.height}x{grid.width}); use fewer masks or larger clips"
        )
    for draw in masks:
        draw(grid, generator_for(0, Purpose.MASK_OF_BATCH), [generator_for(0, Purpose.MASK_OF_CLIP)])


def check_crops(views: list[ViewSettings], num_frames: int, tubelet: tuple[int, int, int]) -> None:
    """Raise ValueError where crops of views are no whole number of tubelets."""
    for settings in views:
        if settings.crop_size is not None:
            try:
                TokenGrid.of_clip((num_frames, *settings.crop_size), tubelet)
            except ValueError as error:
                raise ValueError(f"crop_size {settings.crop_size} of views: {error}") from error
