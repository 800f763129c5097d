"""Whole videos as consecutive clips: the frames of each, and their decoding in workers, a few clips at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from vjepa.data.clips.frame_sampling import FrameSampling, window_of
from vjepa.data.video.facts import FileOrBytes, VideoError, VideoFacts
from vjepa.data.video.reader import ReaderChain
from vjepa.data.video.storage import fetch, is_remote
from vjepa.data.video.transforms import channels_first, crop_resize, view_boxes

FRAMES_AT_ONCE = 64  # returned by a worker at once, if a window is not longer: bounds memory, and saves seeks
DECODED_BYTES = 400_000_000  # of uncropped frames at once: 64 of 1920 x 1080


class Windows(NamedTuple):
    """Clips of one file, by time."""

    frame_ids: Int64[np.ndarray, "W T"]
    start_seconds: Float64[np.ndarray, " W"]  # from the file's first frame
    end_seconds: Float64[np.ndarray, " W"]


@dataclass(frozen=True)
class SlidingWindows:
    """Clips over a whole file. The first starts with its first frame; a last one ends with its last frame, if the
    others do not cover it.

    Args:
        frames: of a clip.
        stride: from one clip's start to the next, as a fraction of a clip: 1 is back to back, 0.5 half overlapping.
        max_windows: maximal number of clips; where a file has more, that many, spread evenly over it.
    """

    frames: FrameSampling
    stride: float = 1.0
    max_windows: int | None = None

    def __post_init__(self) -> None:
        if not (self.stride > 0 and np.isfinite(self.stride)):
            raise ValueError(f"stride ({self.stride}) must be more than 0; 1 is back to back, 0.5 half overlapping")
        if self.max_windows is not None and self.max_windows < 1:
            raise ValueError(f"max_windows ({self.max_windows}) must be at least 1")

    def of(self, facts: VideoFacts, part: tuple[int, int]) -> Windows:
        """Windows of a range of frames, at least one; a file that is shorter than a clip is spread evenly over it."""
        first, end = part
        seconds = _seconds_of(facts)
        clock, step = self._clock(seconds)
        length, last_frame = self.frames.num_frames * step, clock[end - 1]
        num_whole = int((clock[end] - clock[first] - length) / (self.stride * length) + 1e-6) + 1
        starts = clock[first] + self.stride * length * np.arange(max(1, num_whole))
        if last_frame > starts[-1] + length - 1e-6:  # no window has it yet
            last_id = np.searchsorted(clock[:end], last_frame - (length - step) - 1e-6)
            starts = np.append(starts, clock[last_id])
        first_ids = np.searchsorted(clock[:end], starts + 1e-6, side="right") - 1  # the frame shown then
        chosen = self._chosen(np.unique(first_ids, return_index=True)[1])
        starts, first_ids = starts[chosen], first_ids[chosen]
        frame_ids = np.stack([self.frames.frame_ids(facts, 0.0, (first_id, end)) for first_id in first_ids.tolist()])
        if facts.container == "image":
            return Windows(frame_ids, np.zeros(1), np.zeros(1))
        ends = np.interp(starts + length, clock[: end + 1], seconds[: end + 1])
        ends[ends > seconds[end - 1] + 1e-6] = seconds[end]
        return Windows(frame_ids, seconds[first_ids], ends)

    def _clock(self, seconds: Float64[np.ndarray, " N"]) -> tuple[Float64[np.ndarray, " N"], float]:
        """The times at which frames start, and the step of a clip, in the unit (frames or seconds) of its rate."""
        frames = self.frames
        if frames.frame_step is not None:
            return np.arange(len(seconds), dtype=np.float64), float(frames.frame_step)
        if frames.fps is not None:
            return seconds, 1 / frames.fps
        assert frames.duration is not None
        return seconds, frames.duration / frames.num_frames

    def _chosen(self, windows: Int64[np.ndarray, " W"]) -> Int64[np.ndarray, " n"]:
        count = len(windows)
        if self.max_windows is None or count <= self.max_windows:
            return windows
        if self.max_windows == 1:
            return windows[[(count - 1) // 2]]
        return windows[np.linspace(0, count - 1, self.max_windows).round().astype(np.int64)]


class VideoWindows(Protocol):
    """Decides which clips of a file there are."""

    def of(self, facts: VideoFacts, part: tuple[int, int]) -> Windows:
        """Windows of a range of frames, at least one."""
        ...


@dataclass(frozen=True)
class WholeVideo:
    """One window with all frames of a file at an even rate. Which frames come first does not depend on what follows.

    Args:
        fps: frames per second of the window; a slower file repeats frames.
        frame_step: instead, frames of the file from one to the next.
    """

    fps: float | None = None
    frame_step: float | None = None

    def __post_init__(self) -> None:
        FrameSampling(1, self.fps, self.frame_step)  # raises ValueError where the rate is none

    def of(self, facts: VideoFacts, part: tuple[int, int]) -> Windows:
        first, end = part
        if facts.times is not None and self.fps is not None:
            seconds = facts.times[first:end] - facts.times[first]
            ticks = np.arange(int(seconds[-1] * self.fps + 1e-6) + 1) / self.fps
            frame_ids = first + np.searchsorted(seconds, ticks + 1e-6, side="right") - 1
        else:
            step = self.frame_step if self.frame_step is not None else facts.fps / (self.fps or facts.fps)
            ids = first + np.floor(np.arange(int((end - first) / step) + 1) * step + 1e-6).astype(np.int64)
            frame_ids = ids[ids < end]
        seconds_of_file = _seconds_of(facts)
        return Windows(frame_ids[None], seconds_of_file[[first]], seconds_of_file[[end]])


class Video(NamedTuple):
    """A file, or the part of it between two times (seconds from its first frame, None for its own ends)."""

    path: str
    start: float | None = None
    end: float | None = None


class VideoPlan(NamedTuple):
    facts: VideoFacts
    windows: Windows
    stretches: list[tuple[int, int]]  # ranges of windows that are decoded together


class StretchKey(NamedTuple):
    number: int  # of the video, as the caller counts them
    video: Video
    stretch: int = 0
    plan: VideoPlan | None = None  # None: scan the file and make one


class Stretch(NamedTuple):
    """Some windows of a video, decoded."""

    number: int  # of the video
    first_window: int
    frames: UInt8[Tensor, "3 F H W"]  # each once
    indices: Int64[Tensor, "W T"]  # of each window's frames among these
    plan: VideoPlan

    def clips(self) -> Iterator[tuple[int, UInt8[Tensor, "3 T H W"]]]:
        """Number of the window and its clip."""
        for window, indices in enumerate(self.indices, start=self.first_window):
            yield window, self.frames[:, indices]


class Unreadable(NamedTuple):
    """A video that can't be read."""

    number: int
    reason: str


class SlidingWindowDataset(Dataset[Stretch | Unreadable]):
    """Stretches of videos by `StretchKey`; the largest central crop of each frame."""

    def __init__(self, windows: VideoWindows, crop_size: tuple[int, int], readers: ReaderChain):
        self.windows = windows
        self.crop_size = crop_size
        self.readers = readers
        self._fetched: tuple[str, FileOrBytes] | None = None

    def __getitem__(self, key: StretchKey) -> Stretch | Unreadable:
        try:
            source = self._fetch(key.video.path)
            # Facts in a manifest are not used: a scan costs little beside decoding the whole file.
            plan = key.plan or self._plan(source, key.video)
            first, stop = plan.stretches[key.stretch]
            frame_ids = plan.windows.frame_ids[first:stop]
            wanted, indices = np.unique(frame_ids, return_inverse=True)
            frames = self._decode(source, plan.facts, wanted)
        except VideoError as error:
            return Unreadable(key.number, str(error))
        pixels = torch.from_numpy(channels_first(frames))
        return Stretch(key.number, first, pixels, torch.from_numpy(indices.reshape(frame_ids.shape)), plan)

    def _plan(self, source: FileOrBytes, video: Video) -> VideoPlan:
        facts = self.readers.scan(source)
        windows = self.windows.of(facts, window_of(facts, video.start, video.end))
        return VideoPlan(facts, windows, _stretches(windows.frame_ids))

    def _decode(
        self, source: FileOrBytes, facts: VideoFacts, frame_ids: Int64[np.ndarray, " F"]
    ) -> UInt8[np.ndarray, "F H W 3"]:
        """Crops and resizes whole frames here, so that pixels do not depend on the reader."""
        height, width = self.crop_size
        box = view_boxes((facts.height, facts.width), width / height, 1)[0]
        frames_at_once = max(1, DECODED_BYTES // (3 * facts.height * facts.width))
        pieces = np.split(frame_ids, range(frames_at_once, len(frame_ids), frames_at_once))
        decoded = (self.readers.decode(source, facts, piece.tolist()) for piece in pieces)
        return np.concatenate([crop_resize(frames, box, self.crop_size) for frames in decoded])

    def _fetch(self, path: str) -> FileOrBytes:
        if not is_remote(path):
            return path
        if self._fetched is None or self._fetched[0] != path:  # a long video's stretches follow each other
            self._fetched = None
            self._fetched = path, fetch(path)
        return self._fetched[1]


def _seconds_of(facts: VideoFacts) -> Float64[np.ndarray, " edges"]:
    """When each frame starts, from the first one, and when the last one ends."""
    if facts.times is None:
        return np.arange(facts.num_frames + 1) / facts.fps
    mean_length = (facts.times[-1] - facts.times[0]) / max(1, facts.num_frames - 1) or 1 / facts.fps
    return np.asarray(np.append(facts.times, facts.times[-1] + mean_length) - facts.times[0])


def _stretches(frame_ids: Int64[np.ndarray, "W T"]) -> list[tuple[int, int]]:
    """Ranges of windows with no more than FRAMES_AT_ONCE different frames, or with a single window."""
    stretches, first = [], 0
    frames: set[int] = set()
    for window, ids in enumerate(frame_ids.tolist()):
        frames = frames.union(ids)
        if window > first and len(frames) > FRAMES_AT_ONCE:
            stretches.append((first, window))
            first, frames = window, set(ids)
    return [*stretches, (first, len(frame_ids))]
