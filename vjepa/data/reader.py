"""Reading frames of a video file. decord is the default: it reads most files and needs no system FFmpeg."""

import os
from collections.abc import Sequence
from typing import Protocol

import torch  # noqa: F401 (before decord: the other order has crashed CUDA processes)

# isort: split
import decord
import numpy as np


class VideoReader(Protocol):
    """One open video file. Opened inside the worker that reads it, and closed at once: readers don't survive a fork."""

    @property
    def num_frames(self) -> int: ...

    @property
    def fps(self) -> float: ...

    def read(
        self,
        frame_ids: Sequence[int],  # T numbers of frames, from 0, ascending, repeats allowed
    ) -> np.ndarray: ...  # (T, H, W, 3) uint8 RGB

    def close(self) -> None: ...


class VideoError(Exception):
    """A file or a frame of it can't be decoded; the message says why, without the path."""


class DecordReader:
    """Frames by decord 0.6.

    Always one thread: its default slows down big machines, and -1 returns blank VP8 frames without an error (measured).
    Raises VideoError where the file or a frame can't be decoded.
    """

    def __init__(self, path: str):
        decord.logging.set_level(decord.logging.QUIET)  # what is wrong with a file is said once, by the quarantine
        try:
            self._video = decord.VideoReader(path, num_threads=1)
        except (RuntimeError, decord.DECORDError) as error:
            reason = "no such file" if not os.path.exists(path) else _first_line(error)
            raise VideoError(reason) from error
        if not len(self._video) or not self.fps > 0:
            raise VideoError(f"the file has {len(self._video)} frames at {self.fps} per second")

    @property
    def num_frames(self) -> int:
        return len(self._video)

    @property
    def fps(self) -> float:
        return float(self._video.get_avg_fps())

    def read(self, frame_ids: Sequence[int]) -> np.ndarray:
        try:
            return self._video.get_batch(list(frame_ids)).asnumpy()
        except (RuntimeError, decord.DECORDError) as error:
            raise VideoError(_first_line(error)) from error

    def close(self) -> None:
        # An open reader goes on decoding to the end of the file and holds the frames in memory.
        del self._video


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__
