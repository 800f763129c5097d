"""Clips for training and evaluation, with an order that survives interruption (LightningDataModule)."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from torch.utils.data import DataLoader

from vjepa.data.clips.augmentation import RandAugment
from vjepa.data.clips.batch import ClipBatch, ClipCollate
from vjepa.data.clips.dataset import ClipDataset, EvaluationCuts, SourceOfClips, TrainingCuts
from vjepa.data.clips.frame_sampling import FrameSampling
from vjepa.data.clips.quarantine import Quarantine
from vjepa.data.manifest.manifest import read_manifest
from vjepa.data.order import MixtureOrder, RowOrder
from vjepa.data.ordered_data_module import Cursor, OrderedDataModule
from vjepa.data.randomness import Purpose, generator_for
from vjepa.data.video.reader import ReaderChain, ReaderName
from vjepa.data.video.video_cache import VideoCache
from vjepa.grid import TokenGrid
from vjepa.masking import MaskStrategy


@dataclass(frozen=True)
class Source:
    """One dataset of a mixture; what is None is the data module's.

    Args:
        manifest: CSV, Parquet or list file, or a folder of videos or images.
        weight: of this source's clips among all.
        name: in logs and in the quarantine; the manifest's file name if None.
        root: folder that paths in the manifest are relative to.
        split: keep only rows with this value in the manifest's `split` column.
        num_frames: frames of a clip. Sources with other numbers come in batches of their own; with 1, where the encoder
            has an image tokenizer, its files are images (or single frames of videos).
        fps, frame_step, duration: rate of the clip's frames; at most one of them.
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
    """What a run has seen of a source."""

    clips: int
    seconds: float  # of video, that those clips covered


@dataclass(frozen=True)
class ClipCursor(Cursor):
    """Also what this rank has seen of each source."""

    clips: tuple[int, ...] = ()
    seconds: tuple[float, ...] = ()


class ClipDataModule(OrderedDataModule):
    """Clips from manifests of video files, with masks; each batch holds clips of one shape.

    Args:
        train_manifest: what to train on: a CSV, Parquet or list file, or a folder (see `vjepa.data.manifest.manifest`).
        mixture: or several such sources with weights.
        val_manifest: the same for validation (and for `predict`); no validation if None.
        test_manifest: the same for `test`.
        root: folder that paths in the manifests are relative to; each manifest's own folder if None.
        train_split, val_split, test_split: keep only rows with this value in the manifest's `split` column.
        num_frames: frames of a clip.
        crop_size: height and width of a clip in pixels.
        fps: frames per second of a clip. Give exactly one of this, `frame_step` and `duration`.
        frame_step: frames of the file from one clip frame to the next.
        duration: seconds that a clip covers.
        temporal_jitter: share of a step by which a training clip's frames are moved at random.
        clips_per_video: training clips that are cut from a file at once.
        crop_scale: range of the share of a frame's area that a training crop takes.
        crop_aspect_ratio: range of a training crop's width over height.
        flip_probability: share of training clips that are mirrored.
        rand_augment: timm policy for training clips, such as "rand-m7-n4-mstd0.5-inc1"; none if None.
        erase_probability: share of training clips of which a box is erased.
        color_jitter: strength of other colours, contrasts and negatives in training clips; none at 0.
        eval_segments, eval_views: clips over a file's length, and crops over its frame, in evaluation.
        masks: mask strategies; each draws one mask per clip.
        image_masks: the same for batches of images; `masks` if None.
        tubelet: frames, height and width of a token; linked to the encoder's.
        image_tokenizer: whether the encoder knows clips of one frame as images; linked to the encoder's.
        global_batch_size: clips per batch over all ranks together (an optimizer step takes `accumulate_grad_batches`).
        num_workers: decoding processes per rank.
        seed: of order, frames, crops, flips and masks.
        max_bad_fraction: share of a source's files that can't be read above which the run stops.
        readers: in the order in which they are tried: decord, pyav, torchcodec.
        decode_time_limit: seconds after which a reader that does not come back is left behind.
        cache_gigabytes: of training videos that each decoding process keeps in memory, decoded. Where small datasets
            fit in, they are decoded once and not in every epoch.
    """

    def __init__(
        self,
        masks: list[MaskStrategy],
        train_manifest: str | None = None,
        mixture: list[Source] | None = None,
        val_manifest: str | None = None,
        test_manifest: str | None = None,
        root: str | None = None,
        train_split: str | None = None,
        val_split: str | None = None,
        test_split: str | None = None,
        num_frames: int = 16,
        crop_size: tuple[int, int] = (224, 224),
        fps: float | None = None,
        frame_step: float | None = None,
        duration: float | None = None,
        temporal_jitter: float = 0.0,
        clips_per_video: int = 1,
        crop_scale: tuple[float, float] = (0.3, 1.0),
        crop_aspect_ratio: tuple[float, float] = (0.75, 1.35),
        flip_probability: float = 0.5,
        rand_augment: str | None = None,
        erase_probability: float = 0.0,
        color_jitter: float = 0.0,
        eval_segments: int = 1,
        eval_views: int = 1,
        image_masks: list[MaskStrategy] | None = None,
        tubelet: tuple[int, int, int] = (2, 16, 16),
        image_tokenizer: bool = False,
        global_batch_size: int = 64,
        num_workers: int = 2,
        seed: int = 0,
        max_bad_fraction: float = 0.2,
        readers: list[ReaderName] = ["decord", "pyav"],  # noqa: B006 (read only)
        decode_time_limit: float | None = 60.0,
        cache_gigabytes: float = 0.0,
    ):
        super().__init__()
        self.grid = TokenGrid.of_clip((num_frames, *crop_size), tubelet)
        check_masks(masks, self.grid)
        if not 0 <= color_jitter <= 1:
            raise ValueError(f"color_jitter ({color_jitter}) must be between 0 and 1")
        for name, value in {"eval_segments": eval_segments, "eval_views": eval_views}.items():
            if value < 1:
                raise ValueError(f"{name} ({value}) must be at least 1")
        if cache_gigabytes < 0:
            raise ValueError(f"cache_gigabytes ({cache_gigabytes}) must be at least 0, which keeps nothing")
        if train_manifest is not None and mixture:
            raise ValueError(
                "give either train_manifest or mixture, not both; --data.mixture=null drops a recipe's mixture"
            )
        self.frames = FrameSampling(num_frames, fps, frame_step, duration, temporal_jitter)
        self.training_sources = mixture or (
            [] if train_manifest is None else [Source(train_manifest, root=root, split=train_split)]
        )
        for source in self.training_sources:
            if not source.weight > 0:
                raise ValueError(f"the weight of {source.title} ({source.weight}) must be more than 0")
            is_image = image_tokenizer and self._sampling_of(source).num_frames == 1
            if is_image:
                check_masks(image_masks or masks, TokenGrid.of_clip((1, *crop_size), (1, *tubelet[1:])))
            else:
                TokenGrid.of_clip((self._sampling_of(source).num_frames, *crop_size), tubelet)
        self._source_names = [source.title for source in self.training_sources]
        if len(set(self._source_names)) < len(self._source_names):
            raise ValueError(
                f"two sources of the mixture have one name ({', '.join(self._source_names)}); give each a `name`"
            )
        self.val_manifest = val_manifest
        self.test_manifest = test_manifest
        self.root = root
        self.val_split = val_split
        self.test_split = test_split
        self.crop_size = crop_size
        self.global_batch_size = global_batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.max_bad_fraction = max_bad_fraction
        self.readers = ReaderChain(readers, decode_time_limit)
        self.cache_gigabytes = cache_gigabytes
        augment = RandAugment(rand_augment) if rand_augment else None
        self.training_cuts = TrainingCuts(
            crop_size,
            crop_scale,
            crop_aspect_ratio,
            flip_probability,
            clips_per_video,
            augment,
            erase_probability,
            color_jitter,
        )
        self.evaluation_cuts = EvaluationCuts(crop_size, eval_segments, eval_views)
        self.collate = ClipCollate(masks, tubelet, seed, (image_masks or masks) if image_tokenizer else None)
        self.check_batch_size()
        nothing = tuple(0 for _ in self.training_sources)
        self.cursor: ClipCursor = ClipCursor(clips=nothing, seconds=nothing)

    def setup(self, stage: str) -> None:
        """Read the manifests that a stage needs. Raises ValueError where one was not given or is of no use."""
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
        self.evaluated = (
            None if manifest is None else self._read(Source(manifest, name=name, root=self.root, split=split))
        )
        folder = Path(self._run.log_dir or self._run.default_root_dir)
        of_training = self.train if stage == "fit" else []
        of_evaluation = [self.evaluated] if self.evaluated is not None else []
        self.quarantine = self._quarantine(folder, of_training)
        self._evaluation_quarantine = self._quarantine(folder, of_evaluation)

    @property
    def group(self) -> tuple[str, int]:
        return "clips_per_video", self.training_cuts.clips_per_video

    @property
    def positions_per_batch(self) -> int:  # files
        return self.global_batch_size // self.training_cuts.clips_per_video

    @property
    def batches_per_epoch(self) -> int:
        """An epoch is as many whole global batches as the manifests have files for, at least one."""
        return max(1, sum(len(source.manifest) for source in self.train) // self.positions_per_batch)

    @property
    def position_alignment(self) -> int:
        return self.positions_per_batch if self.order.num_groups > 1 else 1  # a batch has clips of one shape

    def train_dataloader(self) -> DataLoader[Any]:
        readers = VideoCache(self.readers, self.cache_gigabytes) if self.cache_gigabytes else self.readers
        dataset = ClipDataset(self.train, self.order, self.training_cuts, readers)
        return self.training_loader(dataset, self.collate)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Every row once, as listed."""
        if self.evaluated is None:
            return []
        num_rows = len(self.evaluated.manifest)
        order = MixtureOrder([RowOrder(num_rows, self.seed, shuffle=False)])
        dataset = ClipDataset([self.evaluated], order, self.evaluation_cuts, self.readers)
        num_files = max(1, self.global_batch_size // self.evaluation_cuts.clips_per_video)
        return self.evaluation_loader(dataset, self.collate, num_rows, num_files)

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
        """What the run has seen of each source so far, over all ranks, by the source's name."""
        return self._usage_at(self.cursor)

    def state_dict(self) -> dict[str, Any]:
        usage = self._usage_at(cast(ClipCursor, self.trained_cursor))
        return super().state_dict() | {"usage": {name: seen._asdict() for name, seen in usage.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        nothing = Usage(0, 0.0)._asdict()  # of a new source
        usage = [state_dict["usage"].get(name, nothing) for name in self._source_names]
        clips, seconds = (tuple(seen[name] for seen in usage) for name in Usage._fields)
        self.cursor = ClipCursor(state_dict["position"], state_dict["batches_into_epoch"], clips, seconds)

    def _usage_at(self, cursor: ClipCursor) -> dict[str, Usage]:
        # Clips follow from the position. Seconds are those of this rank, scaled to the clips of all ranks.
        clips = self.order.counts_before(cursor.position) * self.training_cuts.clips_per_video
        return {
            name: Usage(total, seconds * (total / max(1, on_rank)))
            for name, total, on_rank, seconds in zip(
                self._source_names, clips.tolist(), cursor.clips, cursor.seconds, strict=True
            )
        }

    def _sampling_of(self, source: Source) -> FrameSampling:
        num_frames = source.num_frames or self.frames.num_frames
        if (source.fps, source.frame_step, source.duration) == (None, None, None):
            return replace(self.frames, num_frames=num_frames)
        return FrameSampling(num_frames, source.fps, source.frame_step, source.duration, self.frames.temporal_jitter)

    def _read(self, source: Source) -> SourceOfClips:
        manifest = read_manifest(source.manifest, source.root or self.root, source.split)
        return SourceOfClips(source.title, manifest, self._sampling_of(source))

    def _training_order(self) -> MixtureOrder:
        orders = [RowOrder(len(source.manifest), self.seed, source=k) for k, source in enumerate(self.train)]
        shapes = sorted({source.frames.num_frames for source in self.train})
        groups = [shapes.index(source.frames.num_frames) for source in self.train]
        weights = [source.weight for source in self.training_sources]
        return MixtureOrder(orders, weights, groups, self.positions_per_batch)

    def _quarantine(self, folder: Path, sources: list[SourceOfClips]) -> Quarantine:
        num_files = {source.name: len(source.manifest) for source in sources}
        return Quarantine(folder / "quarantine.csv", num_files, self.max_bad_fraction)


def check_masks(masks: list[MaskStrategy], grid: TokenGrid) -> None:
    """Raise ValueError where these masks can't be drawn on this grid: here, not in a worker."""
    if not masks:
        raise ValueError("masks is empty; give at least one mask strategy")
    if len(masks) > grid.num_tokens:
        raise ValueError(
            f"{len(masks)} masks are more than the clip's {grid.num_tokens} tokens "
            f"(token grid {grid.frames}x{grid.height}x{grid.width}); use fewer masks or larger clips"
        )
    for draw in masks:
        draw(grid, generator_for(0, Purpose.MASK_OF_BATCH), [generator_for(0, Purpose.MASK_OF_CLIP)])
