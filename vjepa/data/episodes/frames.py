"""Sources of the frames of episodes: one array that holds them all, or files that are decoded when needed.

Frames stay uint8. Resized frames are resized once, from the stored pixels, by OpenCV's INTER_AREA.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float64, Int64, Shaped, UInt8

from vjepa.data.video.facts import Trait, VideoError, VideoFacts
from vjepa.data.video.reader import ReaderChain

CHUNK = 64  # frames held at their stored size at a time


@runtime_checkable
class FrameSource(Protocol):
    """Frames of all episodes."""

    @property
    def frame_size(self) -> tuple[int, int]: ...  # height, width

    def read(
        self, episodes: Int64[np.ndarray, "*batch"], frame_ids: Int64[np.ndarray, "*batch n"]
    ) -> UInt8[np.ndarray, "*batch n H W 3"]:
        """Frames by episode and index within it. Raises VideoError or OSError where they can't be read."""
        ...


@runtime_checkable
class StoredFrames(Protocol):
    """The frames of one episode, as stored."""

    @property
    def num_frames(self) -> int: ...

    @property
    def size(self) -> tuple[int, int]: ...  # height, width

    def read(self, frame_ids: Int64[np.ndarray, " n"]) -> UInt8[np.ndarray, "n H W 3"]: ...  # ascending ids

    def part(self, rows: slice) -> "StoredFrames": ...  # of a start and a stop within the frames


class ArraySource:
    """Frames of all episodes, concatenated in one array, in memory or mapped; `firsts` are the episodes' first rows."""

    def __init__(self, array: UInt8[np.ndarray, "F H W 3"], firsts: Int64[np.ndarray, " E"]):
        self.array = array
        self.firsts = firsts

    @property
    def frame_size(self) -> tuple[int, int]:
        return self.array.shape[1], self.array.shape[2]

    def read(
        self, episodes: Int64[np.ndarray, "*batch"], frame_ids: Int64[np.ndarray, "*batch n"]
    ) -> UInt8[np.ndarray, "*batch n H W 3"]:
        return self.array[self.firsts[episodes][..., None] + frame_ids]


class LazySource:
    """Frames that are read when needed, and cached if all episodes together fit into the cache.

    With a cache, an episode is read whole the first time, in each process that reads. Otherwise only the requested
    frames are read, each time.

    Args:
        episodes: frames of each, of one size if there is no `resize`.
        resize: height and width of the frames; as stored if None.
        cache_gigabytes: size of the cache.
    """

    def __init__(
        self, episodes: Sequence[StoredFrames], resize: tuple[int, int] | None = None, cache_gigabytes: float = 2.0
    ):
        self.episodes = episodes
        self.frame_size: tuple[int, int] = episodes[0].size if resize is None else (resize[0], resize[1])
        height, width = self.frame_size
        self.is_cached = sum(each.num_frames for each in episodes) * height * width * 3 <= cache_gigabytes * 2**30
        self._cache: dict[int, np.ndarray] = {}

    def read(
        self, episodes: Int64[np.ndarray, "*batch"], frame_ids: Int64[np.ndarray, "*batch n"]
    ) -> UInt8[np.ndarray, "*batch n H W 3"]:
        frames = np.empty((*frame_ids.shape, *self.frame_size, 3), np.uint8)
        for episode in np.unique(episodes).tolist():
            rows = np.equal(episodes, episode)
            frames[rows] = self._episode_frames(episode, frame_ids[rows])
        return frames

    def _episode_frames(self, episode: int, frame_ids: np.ndarray) -> np.ndarray:
        if self.is_cached:
            if episode not in self._cache:
                self._cache[episode] = self._resized(episode, np.arange(self.episodes[episode].num_frames))
            return self._cache[episode][frame_ids]
        unique, where = np.unique(frame_ids, return_inverse=True)
        return self._resized(episode, unique)[where.reshape(frame_ids.shape)]

    def _resized(self, episode: int, frame_ids: np.ndarray) -> np.ndarray:
        frames = np.empty((len(frame_ids), *self.frame_size, 3), np.uint8)
        for start in range(0, len(frame_ids), CHUNK):
            chunk = slice(start, start + CHUNK)
            frames[chunk] = resized(self.episodes[episode].read(frame_ids[chunk]), self.frame_size)
        return frames

    def __getstate__(self) -> dict[str, object]:  # spawned workers start with an empty cache
        return {**self.__dict__, "_cache": {}}


@dataclass(frozen=True)
class ArrayFrames:
    """Frames of an episode in an array."""

    array: UInt8[np.ndarray, "n H W 3"]

    @property
    def num_frames(self) -> int:
        return len(self.array)

    @property
    def size(self) -> tuple[int, int]:
        return self.array.shape[1], self.array.shape[2]

    def read(self, frame_ids: Int64[np.ndarray, " n"]) -> UInt8[np.ndarray, "n H W 3"]:
        return self.array[frame_ids]

    def part(self, rows: slice) -> "ArrayFrames":
        return ArrayFrames(self.array[rows])


@dataclass(frozen=True)
class VideoFrames:
    """Frames of an episode in a video file: those with the numbers `file_ids`, ascending, repeats allowed."""

    readers: ReaderChain
    path: str
    facts: VideoFacts
    file_ids: Int64[np.ndarray, " n"]

    @property
    def num_frames(self) -> int:
        return len(self.file_ids)

    @property
    def size(self) -> tuple[int, int]:
        return self.facts.height, self.facts.width

    @cached_property
    def _times(self) -> Float64[np.ndarray, " n"]:
        return self.facts.all_times[self.file_ids]  # once for a file that may hold a thousand episodes

    def read(self, frame_ids: Int64[np.ndarray, " n"]) -> UInt8[np.ndarray, "n H W 3"]:
        return self.readers.decode(self.path, self.facts, self.file_ids[frame_ids].tolist())

    def part(self, rows: slice) -> "VideoFrames":
        return replace(self, file_ids=self.file_ids[rows])

    def at_times(
        self,
        seconds: Shaped[np.ndarray, "..."],  # (n,)
        where: str,
        first: float = -math.inf,
        stop: float = math.inf,
    ) -> "VideoFrames":
        """The frames nearest to these presentation times, the earlier of two that are as near.

        Args:
            seconds: of each row of the episode, in the file's time.
            where: the episode, in messages.
            first, stop: seconds at which the episode begins and the next one in the file does.

        Raises:
            ValueError: times don't increase, or the video has no frame of the first or last row: a frame lasts from
                half an interval before its time to half one after it; the last one of a video that is slower than the
                rows, for a whole one.
        """
        if seconds.ndim != 1 or seconds.dtype.kind not in "iuf" or not len(seconds):
            raise ValueError(
                f"timestamps of {where} must be seconds, one for each row, not {seconds.shape} {seconds.dtype}"
            )
        seconds = seconds.astype(np.float64)
        if not (np.isfinite(seconds).all() and (np.diff(seconds) > 0).all()):
            row = int(np.argmin(np.append(np.diff(seconds) > 0, False)))
            raise ValueError(
                f"timestamps of {where} must be seconds that increase from row to row, and those of rows {row} and "
                f"{row + 1} are {seconds[row : row + 2].tolist()}; mend or remove them"
            )
        half = 0.5 / self.facts.fps
        begin, end = np.searchsorted(self._times, first - half, "right"), np.searchsorted(self._times, stop - half)
        times = self._times[begin:end]
        is_slower = len(seconds) > 1 and self.facts.fps < 0.99 * rate_of(seconds)
        slack = 1e-3 + (2 * half if is_slower else half)
        if not len(times) or seconds[0] < times[0] - half - 1e-3 or seconds[-1] > times[-1] + slack:
            shown = f"{times[0]:.3f} to {times[-1]:.3f} s" if len(times) else "none of them"
            raise ValueError(
                f"rows of {where} are of {seconds[0]:.3f} to {seconds[-1]:.3f} s, and {self.path} has frames of "
                f"{shown} ({self.facts.fps:.6g} per second); mend timestamps or rate, or leave the episode out"
            )
        later = np.clip(np.searchsorted(times, seconds), 1, max(1, len(times) - 1))
        earlier = later - 1
        later = np.minimum(later, len(times) - 1)
        is_later = times[later] - seconds < seconds - times[earlier] - 1e-6
        return replace(self, file_ids=self.file_ids[begin + np.where(is_later, later, earlier)])


def scan_videos(paths: Iterable[Path]) -> dict[Path, VideoFrames]:
    """The files that can be read, with all their frames. Raises ValueError if there are none."""
    readers = ReaderChain()
    videos: dict[Path, VideoFrames] = {}
    reasons: dict[Path, str] = {}
    for path in dict.fromkeys(paths):
        try:
            facts = readers.scan(str(path))
            if Trait.DAMAGED in facts.traits:
                raise VideoError(f"it breaks off after {facts.num_frames} frames")
            videos[path] = VideoFrames(readers, str(path), facts, np.arange(facts.num_frames))
        except VideoError as error:
            reasons[path] = str(error)
    if not videos:
        path, reason = next(iter(reasons.items()))
        raise ValueError(f"none of {len(reasons)} videos can be read; {path}: {reason}")
    return videos


def rate_of(seconds: Float64[np.ndarray, " n"]) -> float:
    """Rows per second of at least two rows."""
    return 1 / float(np.median(np.diff(seconds)))


def common_fps(rates: Sequence[float]) -> float | None:
    """The one rate, within 1 %; None where rates differ."""
    return rates[0] if max(rates) <= 1.01 * min(rates) else None


def resized(frames: UInt8[np.ndarray, "n h w 3"], size: tuple[int, int] | None) -> UInt8[np.ndarray, "n H W 3"]:
    """Frames of another height and width; the same frames if None."""
    if size is None or frames.shape[1:3] == tuple(size):
        return frames
    made = np.empty((len(frames), *size, 3), np.uint8)
    for frame, into in zip(frames, made, strict=True):
        cv2.resize(frame, size[::-1], dst=into, interpolation=cv2.INTER_AREA)
    return made
