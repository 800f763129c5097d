"""The frames of a clip, as a function of the file's facts and one random number."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from vjepa.data.video.facts import VideoError, VideoFacts

FrameIds = Int64[np.ndarray, " num_frames"]
Jitter = Float64[np.ndarray, " num_frames"]
Times = Float64[np.ndarray, " N"]


@dataclass(frozen=True)
class FrameSampling:
    """Evenly spaced frames. Exactly one of `fps`, `frame_step` and `duration` gives their rate.

    Args:
        num_frames: frames of a clip.
        fps: frames per second of the clip; a slower file repeats frames.
        frame_step: frames of the file from one clip frame to the next.
        duration: seconds that the clip covers.
        temporal_jitter: fraction of a step by which each frame is moved at random, 0 to 1.

    Raises:
        ValueError: none or several rates are given, or one is out of range.
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
        start: float,  # in [0, 1): from the first to the last possible start
        window: tuple[int, int] | None = None,  # frames that may be used, as a range; all if None
        generator: np.random.Generator | None = None,  # of the jitter; none if None
    ) -> FrameIds:
        """Ascending frame numbers. A file too short for the rate is spread evenly over the clip.

        If the file's rate varies and the clip's rate is in seconds, frames are selected by their times.
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

    def _by_time(self, times: Times, first: int, end: int, start: float, jitter: Jitter) -> FrameIds:
        mean_length = float(times[-1] - times[0]) / max(1, len(times) - 1)
        length = float(times[end - 1] - times[first]) + mean_length
        step = 1 / self.fps if self.fps is not None else self.duration / self.num_frames  # type: ignore[operator]
        # In units of a mean frame: with even times the result is that of `frame_ids`.
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
        """Seconds of the file that a clip covers, at most the whole window; 0 for an image."""
        if facts.container == "image":
            return 0.0
        return min(self.num_frames * self._frames_per_step(facts.fps), window[1] - window[0]) / facts.fps


def _spread(step: float, num_frames: int, length: float, start: float) -> tuple[float, float]:
    """Begin and step of a clip in a file of `length` frames, both in frames."""
    span = (num_frames - 1) * step
    if span > length - 1:
        return 0.0, max(0.0, length - 1) / max(1, num_frames - 1)
    return start * (length - span), step


def window_of(facts: VideoFacts, start: float | None, end: float | None) -> tuple[int, int]:
    """The range of frames between two times (seconds from the first frame), at least one frame.

    Raises VideoError where the file ends before the start.
    """
    if start is None and end is None:
        return 0, facts.num_frames
    if reason := facts.missing_part(start):
        raise VideoError(reason)
    first = _first_frame_from(facts, start or 0.0)
    stop = facts.num_frames if end is None else _first_frame_from(facts, end)
    first = min(first, facts.num_frames - 1)
    return first, max(first + 1, stop)


def _first_frame_from(facts: VideoFacts, seconds: float) -> int:
    if facts.times is not None:
        return int(np.searchsorted(facts.times, facts.times[0] + seconds - 1e-6))
    return int(np.clip(np.ceil(seconds * facts.fps - 1e-6), 0, facts.num_frames))
