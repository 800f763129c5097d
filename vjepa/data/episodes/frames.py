"""Sources of the frames of episodes: one array that holds them all, or files that are decoded when needed.

Frames stay uint8. Resized frames are resized once, from the stored pixels, by OpenCV's INTER_AREA.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Int64, UInt8

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


@dataclass(frozen=True)
class VideoFrames:
    """Frames of an episode in a video file.

    Args:
        first: index in the file of the episode's first frame.
        stride: frames of the file from one frame of the episode to the next.
    """

    readers: ReaderChain
    path: str
    facts: VideoFacts
    num_frames: int
    first: int = 0
    stride: int = 1

    @property
    def size(self) -> tuple[int, int]:
        return self.facts.height, self.facts.width

    @property
    def fps(self) -> float:
        return self.facts.fps / self.stride

    def read(self, frame_ids: Int64[np.ndarray, " n"]) -> UInt8[np.ndarray, "n H W 3"]:
        return self.readers.decode(self.path, self.facts, (self.first + self.stride * frame_ids).tolist())


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
            videos[path] = VideoFrames(readers, str(path), facts, facts.num_frames)
        except VideoError as error:
            reasons[path] = str(error)
    if not videos:
        path, reason = next(iter(reasons.items()))
        raise ValueError(f"none of {len(reasons)} videos can be read; {path}: {reason}")
    return videos


def common_fps(videos: Iterable[VideoFrames]) -> float | None:
    """The frame rate of all videos, within 1 %; None where they differ."""
    rates = [video.fps for video in videos]
    return rates[0] if max(rates) <= 1.01 * min(rates) else None


def resized(frames: UInt8[np.ndarray, "n h w 3"], size: tuple[int, int] | None) -> UInt8[np.ndarray, "n H W 3"]:
    """Frames of another height and width; the same frames if None."""
    if size is None or frames.shape[1:3] == tuple(size):
        return frames
    made = np.empty((len(frames), *size, 3), np.uint8)
    for frame, into in zip(frames, made, strict=True):
        cv2.resize(frame, size[::-1], dst=into, interpolation=cv2.INTER_AREA)
    return made
