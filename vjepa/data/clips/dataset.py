"""Clips by position: source, row, frames, crop and flip all follow from (seed, position)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from vjepa.data.clips.augmentation import RandAugment, change_colours, erase_box
from vjepa.data.clips.frame_sampling import FrameSampling, window_of
from vjepa.data.clips.quarantine import Failure
from vjepa.data.manifest.manifest import Manifest
from vjepa.data.order import MixtureOrder, SampleKey
from vjepa.data.randomness import Purpose, generator_for
from vjepa.data.video.facts import FileOrBytes, VideoError, VideoFacts
from vjepa.data.video.reader import ReaderChain
from vjepa.data.video.storage import fetch
from vjepa.data.video.transforms import CropBox, channels_first, crop_resize, random_crop_box, view_boxes
from vjepa.data.video.video_cache import VideoCache

MAX_REPLACEMENTS = 20
REMEMBERED_SCANS = 50_000  # files of which a worker remembers what it found out


class Clip(NamedTuple):
    pixels: torch.Tensor  # (3, T, H, W) uint8
    label: int
    source: int
    row: int
    seconds: float  # of the file, that the clip covers
    number: int  # of this clip among those of its file
    key: SampleKey
    failures: list[Failure]  # files tried before this one


@dataclass(frozen=True)
class SourceOfClips:
    """A manifest and how clips are cut from its files."""

    name: str
    manifest: Manifest
    frames: FrameSampling


class Cut(NamedTuple):
    """One clip of a file before it is decoded."""

    frame_ids: np.ndarray  # (T,) int64
    box: CropBox
    flip: bool = False


class TrainingCuts:
    """Random clips of a file.

    Args:
        crop_size: height and width of a clip in pixels.
        crop_scale: range of the share of a frame's area that a crop takes.
        crop_aspect_ratio: range of a crop's width over height.
        flip_probability: share of clips that are mirrored.
        clips_per_video: cut from a file at once, each from its own stretch of the file.
        rand_augment: changes colours and shapes; nothing if None.
        erase_probability: share of clips of which a box is erased.
        color_jitter: strength of other colours, contrasts and negatives; none at 0.
    """

    def __init__(
        self,
        crop_size: tuple[int, int],
        crop_scale: tuple[float, float] = (0.3, 1.0),
        crop_aspect_ratio: tuple[float, float] = (0.75, 1.35),
        flip_probability: float = 0.5,
        clips_per_video: int = 1,
        rand_augment: RandAugment | None = None,
        erase_probability: float = 0.0,
        color_jitter: float = 0.0,
    ):
        self.crop_size = crop_size
        self.crop_scale = crop_scale
        self.crop_aspect_ratio = crop_aspect_ratio
        self.flip_probability = flip_probability
        self.clips_per_video = clips_per_video
        self.rand_augment = rand_augment
        self.erase_probability = erase_probability
        self.color_jitter = color_jitter

    def plan(
        self, facts: VideoFacts, frames: FrameSampling, window: tuple[int, int], generator: np.random.Generator
    ) -> list[Cut]:
        return [self._cut(facts, frames, window, generator, number) for number in range(self.clips_per_video)]

    def _cut(self, facts, frames, window, generator, number: int) -> Cut:
        start = (number + generator.random()) / self.clips_per_video
        frame_ids = frames.frame_ids(facts, start, window, generator)
        box = random_crop_box((facts.height, facts.width), self.crop_scale, self.crop_aspect_ratio, generator)
        return Cut(frame_ids, box, flip=bool(generator.random() < self.flip_probability))

    def finish(
        self,
        frames: np.ndarray,  # (T, H, W, 3) uint8, cut and resized
        cut: Cut,
        generator: np.random.Generator,
    ) -> np.ndarray:  # (3, T, H, W) uint8
        if self.rand_augment is not None:
            frames = self.rand_augment(frames, generator)
        if self.erase_probability and generator.random() < self.erase_probability:
            frames = erase_box(frames, generator)
        if self.color_jitter:
            frames = change_colours(frames, generator, self.color_jitter)
        return channels_first(frames, cut.flip)


class EvaluationCuts:
    """The same clips of a file each time: segments spread evenly over the file, views over the frame.

    Args:
        crop_size: height and width of a clip in pixels.
        num_segments: clips over the file's length; a single one is its middle.
        num_views: crops along the frame's longer side; a single one is its middle.
    """

    def __init__(self, crop_size: tuple[int, int], num_segments: int = 1, num_views: int = 1):
        self.crop_size = crop_size
        self.num_segments = num_segments
        self.num_views = num_views

    @property
    def clips_per_video(self) -> int:
        return self.num_segments * self.num_views

    def plan(
        self, facts: VideoFacts, frames: FrameSampling, window: tuple[int, int], generator: np.random.Generator
    ) -> list[Cut]:  # views of a segment together
        boxes = view_boxes((facts.height, facts.width), self.crop_size[1] / self.crop_size[0], self.num_views)
        starts = [(segment + 0.5) / self.num_segments for segment in range(self.num_segments)]
        return [Cut(frames.frame_ids(facts, start, window), box) for start in starts for box in boxes]

    def finish(
        self,
        frames: np.ndarray,  # (T, H, W, 3) uint8
        cut: Cut,
        generator: np.random.Generator,
    ) -> np.ndarray:  # (3, T, H, W) uint8
        return channels_first(frames)


class ClipDataset(Dataset[list[Clip]]):
    """Cuts the clips of one file for each key.

    A file that can't be read is replaced by another row of its source, drawn from (seed, position), and named in the
    clips' `failures`.
    """

    def __init__(
        self,
        sources: Sequence[SourceOfClips],
        order: MixtureOrder,
        cuts: TrainingCuts | EvaluationCuts,
        readers: ReaderChain | VideoCache,
    ):
        self.sources = list(sources)
        self.order = order
        self.cuts = cuts
        self.readers = readers
        self._scan = lru_cache(REMEMBERED_SCANS)(self.readers.scan)

    def __getitem__(self, key: SampleKey) -> list[Clip]:
        number, row = self.order.draw(key.position)
        source = self.sources[number]
        failures: list[Failure] = []
        for attempt in range(MAX_REPLACEMENTS):
            if attempt:
                row = self.order.orders[number].replacement(key.position, attempt)
            try:
                clips, seconds = self._cut(source, row, key.position, attempt)
            except VideoError as error:
                failures.append(Failure(source.name, source.manifest.paths[row], str(error)))
                continue
            label = int(source.manifest.labels[row])
            return [
                Clip(torch.from_numpy(pixels), label, number, row, seconds, k, key, failures if k == 0 else [])
                for k, pixels in enumerate(clips)
            ]
        _, path, reason = failures[-1]
        raise ValueError(
            f"{MAX_REPLACEMENTS} files of {source.manifest.source} in a row could not be read, "
            f"the last was {path}: {reason}"
        )

    def _cut(self, source: SourceOfClips, row: int, position: int, attempt: int) -> tuple[list[np.ndarray], float]:
        path = source.manifest.paths[row]
        video = fetch(path)
        known = source.manifest.facts(row)
        if known is not None:
            try:
                return self._cut_with(known, source, row, video, position, attempt)
            except VideoError:
                pass  # the file may have changed since the manifest was made: look again
        facts = self._scan(path) if video is path else self.readers.scan(video)
        return self._cut_with(facts, source, row, video, position, attempt)

    def _cut_with(
        self, facts: VideoFacts, source: SourceOfClips, row: int, video: FileOrBytes, position: int, attempt: int
    ) -> tuple[list[np.ndarray], float]:
        window = window_of(facts, *source.manifest.window(row))
        generator = generator_for(self.order.orders[0].seed, Purpose.CLIP, position, attempt)
        cuts = self.cuts.plan(facts, source.frames, window, generator)
        clips = [
            self.cuts.finish(frames, cut, generator)
            for cut, frames in zip(cuts, self._decode(video, facts, cuts), strict=True)
        ]
        return clips, source.frames.seconds(facts, window)

    def _decode(self, video: FileOrBytes, facts: VideoFacts, cuts: list[Cut]) -> Iterator[np.ndarray]:
        size = self.cuts.crop_size
        if len(cuts) == 1:  # a reader may crop and resize where it is cheapest
            yield self.readers.decode(video, facts, cuts[0].frame_ids.tolist(), cuts[0].box, size)
            return
        frame_ids = sorted({frame_id for cut in cuts for frame_id in cut.frame_ids.tolist()})
        frames = self.readers.decode(video, facts, frame_ids)  # whole frames, once for all clips
        for cut in cuts:
            yield crop_resize(frames[np.searchsorted(frame_ids, cut.frame_ids)], cut.box, size)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_scan"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._scan = lru_cache(REMEMBERED_SCANS)(self.readers.scan)
