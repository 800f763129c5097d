"""Where an episode's frames come from: one array that holds them all, or files that are decoded as they are asked for.

Frames stay uint8. What is resized is resized once, straight from the stored pixels, by OpenCV's INTER_AREA.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import cv2
import numpy as np

from vjepa.data.video.facts import Trait, VideoError, VideoFacts
from vjepa.data.video.reader import ReaderChain

FRAMES_AT_ONCE = 64  # that are held at their full size


@runtime_checkable
class FrameSource(Protocol):
    """Frames by episode and number within it."""

    @property
    def frame_size(self) -> tuple[int, int]: ...  # height, width

    def read(
        self,
        episodes: np.ndarray,  # (B,)
        numbers: np.ndarray,  # (B, n)
    ) -> np.ndarray:  # (B, n, H, W, 3) uint8
        """Raises VideoError or OSError where frames can't be read."""
        ...


class ArrayFrames:
    """Frames of all episodes in one array, in memory or mapped.

    Args:
        array: (F, H, W, 3) uint8.
        firsts: (E,) row of each episode's first frame.
    """

    def __init__(self, array: np.ndarray, firsts: np.ndarray):
        self.array = array
        self.firsts = firsts

    @property
    def frame_size(self) -> tuple[int, int]:
        return self.array.shape[1], self.array.shape[2]

    def read(self, episodes: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        return self.array[self.firsts[episodes][:, None] + numbers]


class LoadedFrames:
    """Frames of episodes that are read when they are first asked for, and kept where all of them fit into memory.

    Where all episodes together fit into the cache, an episode is read whole the first time and kept, in each process
    that reads (with workers, in each of them). Where they don't, only the frames asked for are read, each time.

    Args:
        load: (episode, ascending numbers of frames) -> (n, H, W, 3) uint8, as stored.
        num_frames: of each episode.
        stored_size: height and width as stored.
        resize: height and width to make of that.
        cache_gigabytes: size of the cache.
    """

    def __init__(
        self,
        load: Callable[[int, np.ndarray], np.ndarray],
        num_frames: Sequence[int],
        stored_size: tuple[int, int],
        resize: tuple[int, int] | None = None,
        cache_gigabytes: float = 2.0,
    ):
        self.load = load
        self.num_frames = num_frames
        self.frame_size: tuple[int, int] = stored_size if resize is None else (resize[0], resize[1])
        height, width = self.frame_size
        self.is_kept = sum(num_frames) * height * width * 3 <= cache_gigabytes * 2**30
        self._kept: dict[int, np.ndarray] = {}

    def read(self, episodes: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        frames = np.empty((*numbers.shape, *self.frame_size, 3), np.uint8)
        for episode in np.unique(episodes).tolist():
            rows = np.flatnonzero(episodes == episode)
            frames[rows] = self._frames_of(episode, numbers[rows])
        return frames

    def _frames_of(self, episode: int, numbers: np.ndarray) -> np.ndarray:
        if self.is_kept:
            if episode not in self._kept:
                self._kept[episode] = self._resized(episode, np.arange(self.num_frames[episode]))
            return self._kept[episode][numbers]
        wanted, where = np.unique(numbers, return_inverse=True)
        return self._resized(episode, wanted)[where.reshape(numbers.shape)]

    def _resized(self, episode: int, numbers: np.ndarray) -> np.ndarray:  # (n, H, W, 3)
        frames = np.empty((len(numbers), *self.frame_size, 3), np.uint8)
        for start in range(0, len(numbers), FRAMES_AT_ONCE):
            part = slice(start, start + FRAMES_AT_ONCE)
            frames[part] = resized(self.load(episode, numbers[part]), self.frame_size)
        return frames

    def __getstate__(self) -> dict[str, object]:  # what was read stays behind when workers are spawned
        return {**self.__dict__, "_kept": {}}


class VideoPart(NamedTuple):
    """The frames of a video file that are an episode's."""

    path: str
    facts: VideoFacts
    first: int  # number of the file's frame that is the episode's first
    num_frames: int
    every: int = 1  # frames of the file from one of the episode to the next


class VideoLoader:
    """Frames of episodes out of video files."""

    def __init__(self, parts: Sequence[VideoPart]):
        self.parts = parts
        self.readers = ReaderChain()

    def __call__(self, episode: int, numbers: np.ndarray) -> np.ndarray:  # (n, H, W, 3) uint8
        part = self.parts[episode]
        return self.readers.decode(part.path, part.facts, (part.first + part.every * numbers).tolist())


def video_frames(
    parts: Sequence[VideoPart], names: Sequence[str], resize: tuple[int, int] | None, cache_gigabytes: float
) -> LoadedFrames:
    """The frames of these videos. Raises ValueError where their sizes differ and nothing resizes them."""
    sizes = [(part.facts.height, part.facts.width) for part in parts]
    check_sizes(names, sizes, resize)
    return LoadedFrames(VideoLoader(parts), [part.num_frames for part in parts], sizes[0], resize, cache_gigabytes)


def check_sizes(names: Sequence[str], sizes: Sequence[tuple[int, int]], resize: tuple[int, int] | None) -> None:
    for name, size in zip(names, sizes, strict=True):
        if resize is None and size != sizes[0]:
            raise ValueError(
                f"frames of {name} are {size[1]}x{size[0]} and those of {names[0]} {sizes[0][1]}x{sizes[0][0]}; "
                "give `resize`, the height and width that all are to have"
            )


def common_rate(rates: Sequence[float]) -> float | None:
    """The frames per second that all have, within a part in a hundred; None where they differ."""
    return rates[0] if rates and max(rates) <= 1.01 * min(rates) else None


def scan_videos(paths: Sequence[str]) -> tuple[dict[str, VideoFacts], dict[str, str]]:
    """What the files hold, by path, and why the others can't be read. Raises ValueError where none can."""
    readers = ReaderChain()
    facts: dict[str, VideoFacts] = {}
    reasons: dict[str, str] = {}
    for path in dict.fromkeys(paths):
        try:
            found = readers.scan(path)
            if Trait.DAMAGED in found.traits:
                raise VideoError(f"it breaks off after {found.num_frames} frames")
            facts[path] = found
        except VideoError as error:
            reasons[path] = str(error)
    if not facts:
        first, reason = next(iter(reasons.items()))
        raise ValueError(f"none of {len(reasons)} videos can be read; {first}: {reason}")
    return facts, reasons


def resized(
    frames: np.ndarray,  # (n, H, W, 3) uint8
    size: tuple[int, int] | None,  # height, width; their own if None
) -> np.ndarray:  # (n, height, width, 3) uint8
    if size is None or frames.shape[1:3] == tuple(size):
        return frames
    made = np.empty((len(frames), *size, 3), np.uint8)
    for frame, into in zip(frames, made, strict=True):
        cv2.resize(frame, size[::-1], dst=into, interpolation=cv2.INTER_AREA)
    return made
