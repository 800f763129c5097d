"""How clips are cut from a file: frames, crop and flip before decoding, augmentation after it."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Int64, UInt8
from numpy.random import Generator

from vjepa.data.clips.augmentation import RandAugment, erase_box, jitter_colors
from vjepa.data.clips.frame_sampling import FrameSampling, window_of
from vjepa.data.video.facts import VideoFacts
from vjepa.data.video.transforms import CropBox, channels_first, random_crop_box, view_boxes

Frames = UInt8[np.ndarray, "T H W 3"]  # cropped and resized
Pixels = UInt8[np.ndarray, "3 T H W"]
Times = tuple[float | None, float | None]  # the part of a file that a row stands for, in seconds


class Cut(NamedTuple):
    """One clip of a file before it is decoded."""

    frame_ids: Int64[np.ndarray, " T"]
    box: CropBox
    seconds: float  # of the file, that the clip covers
    flip: bool = False


class Cuts(Protocol):
    """Decides which clips of a file there are."""

    @property
    def crop_size(self) -> tuple[int, int]:
        """Height and width of a clip in pixels."""
        ...

    def plan(self, facts: VideoFacts, frames: FrameSampling, times: Times, generator: Generator) -> list[Cut]: ...

    def finish(self, frames: Frames, cut: Cut, generator: Generator) -> Pixels: ...


@dataclass(frozen=True)
class TrainingCuts:
    """Random clips of a file, each from its own stretch of it. Parameters as in `ClipDataModule`."""

    crop_size: tuple[int, int]
    crop_scale: tuple[float, float] = (0.3, 1.0)
    crop_aspect_ratio: tuple[float, float] = (0.75, 1.35)
    flip_probability: float = 0.5
    clips_per_video: int = 1
    rand_augment: RandAugment | None = None
    erase_probability: float = 0.0
    color_jitter: float = 0.0

    def plan(self, facts: VideoFacts, frames: FrameSampling, times: Times, generator: Generator) -> list[Cut]:
        window, cuts = window_of(facts, *times), []
        for number in range(self.clips_per_video):
            start = (number + generator.random()) / self.clips_per_video
            frame_ids = frames.frame_ids(facts, start, window, generator)
            box = random_crop_box((facts.height, facts.width), self.crop_scale, self.crop_aspect_ratio, generator)
            flip = bool(generator.random() < self.flip_probability)
            cuts.append(Cut(frame_ids, box, frames.seconds(facts, window), flip))
        return cuts

    def finish(self, frames: Frames, cut: Cut, generator: Generator) -> Pixels:
        if self.rand_augment is not None:
            frames = self.rand_augment(frames, generator)
        if self.erase_probability and generator.random() < self.erase_probability:
            frames = erase_box(frames, generator)
        if self.color_jitter:
            frames = jitter_colors(frames, generator, self.color_jitter)
        return channels_first(frames, cut.flip)


@dataclass(frozen=True)
class EvaluationCuts:
    """The same clips of a file each time: segments spread evenly over the file, views over the frame.

    Args:
        crop_size: height and width of a clip in pixels.
        num_segments: clips over the file's length; a single one is its middle.
        num_views: crops along the frame's longer side; a single one is its middle.
    """

    crop_size: tuple[int, int]
    num_segments: int = 1
    num_views: int = 1

    @property
    def clips_per_video(self) -> int:
        return self.num_segments * self.num_views

    def plan(self, facts: VideoFacts, frames: FrameSampling, times: Times, generator: Generator) -> list[Cut]:
        # Segment by segment.
        window = window_of(facts, *times)
        boxes = view_boxes((facts.height, facts.width), self.crop_size[1] / self.crop_size[0], self.num_views)
        starts = [(segment + 0.5) / self.num_segments for segment in range(self.num_segments)]
        seconds = frames.seconds(facts, window)
        return [Cut(frames.frame_ids(facts, start, window), box, seconds) for start in starts for box in boxes]

    def finish(self, frames: Frames, cut: Cut, generator: Generator) -> Pixels:
        return channels_first(frames)
