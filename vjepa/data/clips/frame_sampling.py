"""Which frames make a clip: arithmetic on what is known of the file and one random number."""

from dataclasses import dataclass

import numpy as np

from vjepa.data.video.facts import VideoFacts


@dataclass(frozen=True)
class FrameSampling:
    """Evenly spaced frames at a rate that is given in exactly one of three ways.

    Args:
        num_frames: frames of a clip.
        fps: frames per second of the clip; a slower file repeats frames.
        frame_step: or frames of the file from one clip frame to the next.
        duration: or seconds that the clip covers.
        temporal_jitter: share of a step by which each frame is moved at random, 0 to 1.

    Raises:
        ValueError: none or several of the three are given, or one is out of range.
    """

    num_frames: int
    fps: float | None = None
    frame_step: float | None = None
    duration: float | None = None
    temporal_jitter: float = 0.0

    def __post_init__(self) -> None:
        rates = {"fps": self.fps, "frame_step": self.frame_step, "duration": self.duration}
        given = {name: value for name, value in rates.items() if value is not None}
        if len(given) != 1:
            raise ValueError(
                "give exactly one of " + " and ".join(f"{name} ({value})" for name, value in rates.items())
            )
        for name, value in given.items():
            if not (value > 0 and np.isfinite(value)):
                raise ValueError(f"{name} ({value}) must be more than 0")
        if self.num_frames < 1:
            raise ValueError(f"num_frames ({self.num_frames}) must be at least 1")
        if not 0 <= self.temporal_jitter <= 1:
            raise ValueError(f"temporal_jitter ({self.temporal_jitter}) must be between 0 and 1")

    def frame_ids(
        self,
        facts: VideoFacts,
        start: float,  # in [0, 1): where the clip starts, among the starts that are possible
        window: tuple[int, int] | None = None,  # first frame and the one after the last that may be used; all if None
        generator: np.random.Generator | None = None,  # of the jitter; none if None
    ) -> np.ndarray:  # (num_frames,) int64, ascending, each inside the window
        """A file too short for the rate is spread evenly over the clip instead of freezing at its end.

        Where the file's rate varies and the clip's is given in seconds, frames are picked by their times.
        """
        first, end = window or (0, facts.num_frames)
        jitter = np.zeros(self.num_frames)
        if generator is not None and self.temporal_jitter:
            jitter = self.temporal_jitter * (generator.random(self.num_frames) - 0.5)
        if facts.times is not None and self.frame_step is None:
            return self._by_time(facts.times, first, end, start, jitter)
        step = self._frames_per_step(facts.fps)
        begin, step = _spread(step, self.num_frames, float(end - first), start)
        begin = float(int(begin))  # a clip starts on a frame of the file
        ids = first + np.floor(begin + step * (np.arange(self.num_frames) + jitter) + 1e-6)
        return np.sort(np.clip(ids, first, end - 1).astype(np.int64))

    def _by_time(self, times: np.ndarray, first: int, end: int, start: float, jitter: np.ndarray) -> np.ndarray:
        mean_length = float(times[-1] - times[0]) / max(1, len(times) - 1)
        length = float(times[end - 1] - times[first]) + mean_length
        step = 1 / self.fps if self.fps is not None else self.duration / self.num_frames  # type: ignore[operator]
        # In units of a mean frame, so that a file with even times gives what the arithmetic above does.
        begin, step = _spread(step / mean_length, self.num_frames, length / mean_length, start)
        begin_time = times[np.searchsorted(times, times[first] + mean_length * (begin + 1e-6), side="right") - 1]
        wanted = begin_time + mean_length * (step * (np.arange(self.num_frames) + jitter) + 1e-6)
        ids = np.searchsorted(times, wanted, side="right") - 1  # the frame that is shown at that time
        return np.sort(np.clip(ids, first, end - 1).astype(np.int64))

    def _frames_per_step(self, file_fps: float) -> float:
        if self.frame_step is not None:
            return self.frame_step
        if self.fps is not None:
            return file_fps / self.fps
        return file_fps * self.duration / self.num_frames  # type: ignore[operator]

    def seconds(self, facts: VideoFacts, window: tuple[int, int]) -> float:
        """How much of such a file one clip covers, at most the whole window; of an image nothing."""
        if facts.container == "image":
            return 0.0
        return min(self.num_frames * self._frames_per_step(facts.fps), window[1] - window[0]) / facts.fps


def _spread(step: float, num_frames: int, length: float, start: float) -> tuple[float, float]:
    """Begin and step of a clip, both in frames of a file with `length` of them."""
    span = (num_frames - 1) * step
    if span > length - 1:
        return 0.0, max(0.0, length - 1) / max(1, num_frames - 1)
    return start * (length - span), step


def window_of(facts: VideoFacts, start: float | None, end: float | None) -> tuple[int, int]:
    """Frames of a file between two times (seconds from its first frame): the first, and the one after the last.

    At least one frame; times outside the file count as its ends.
    """
    if start is None and end is None:
        return 0, facts.num_frames
    first = _first_frame_from(facts, start or 0.0)
    stop = facts.num_frames if end is None else _first_frame_from(facts, end)
    first = min(first, facts.num_frames - 1)
    return first, max(first + 1, stop)


def _first_frame_from(facts: VideoFacts, seconds: float) -> int:
    if facts.times is not None:
        return int(np.searchsorted(facts.times, facts.times[0] + seconds - 1e-6))
    return int(np.clip(np.ceil(seconds * facts.fps - 1e-6), 0, facts.num_frames))
