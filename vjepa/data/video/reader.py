"""Reading frames of a video: what a reader is, which there are, and which of them reads a given file.

Readers are asked in the order that a recipe states. One that would return wrong frames of a file objects to it, one
that fails or does not come back in time is passed over, and the next one reads the file.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, Protocol, TypeVar, runtime_checkable

import numpy as np

from vjepa.data.video.decord_reader import DecordReader
from vjepa.data.video.facts import FileOrBytes, VideoError, VideoFacts
from vjepa.data.video.image_reader import ImageReader
from vjepa.data.video.pyav_reader import PyAVReader
from vjepa.data.video.time_limit import OutOfTimeError, with_time_limit
from vjepa.data.video.torchcodec_reader import TorchcodecReader
from vjepa.data.video.transforms import CropBox

ReaderName = Literal["decord", "pyav", "torchcodec"]
T = TypeVar("T")


@runtime_checkable
class VideoReader(Protocol):
    """Stateless: a file is opened in the process that reads it and closed at once, for readers don't survive a fork."""

    name: str

    def missing(self) -> str | None:
        """Why this reader can't be used on this machine; None where it can."""
        ...

    def objection(self, facts: VideoFacts) -> str | None:
        """Why this reader would not return the right frames of such a file; None where it does."""
        ...

    def scan(self, source: FileOrBytes) -> VideoFacts:
        """What a file holds. Raises VideoError where it holds no video."""
        ...

    def decode(
        self,
        source: FileOrBytes,
        facts: VideoFacts,
        frame_ids: Sequence[int],  # T numbers of frames from 0, in any order, repeats allowed
        crop_box: CropBox | None = None,  # of the shown frame; all of it if None
        size: tuple[int, int] | None = None,  # height, width in pixels that the box is resized to; its own if None
    ) -> np.ndarray:  # (T, H, W, 3) uint8 RGB
        """Raises VideoError where a frame can't be decoded."""
        ...


class ReaderChain:
    """Readers in the order in which they are tried; photographs always go to the image reader.

    Args:
        names: the order. The last should be `pyav`, which reads all that the others object to.
        time_limit: seconds after which a reader that does not come back is left behind; none if None.

    Raises:
        ValueError: none of the readers can be used on this machine.
    """

    def __init__(self, names: Sequence[ReaderName] = ("decord", "pyav"), time_limit: float | None = 60.0):
        known: dict[str, Callable[[], VideoReader]] = {
            "decord": DecordReader,
            "pyav": PyAVReader,
            "torchcodec": TorchcodecReader,
        }
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise ValueError(f"readers ({', '.join(names) or 'none'}) must be some of {', '.join(known)}")
        asked: list[VideoReader] = [known[name]() for name in names]
        absent = {reader.name: reason for reader in asked if (reason := reader.missing()) is not None}
        if len(absent) == len(asked):
            raise ValueError(
                "no reader can be used: " + "; ".join(f"{name}: {reason}" for name, reason in absent.items())
            )
        self.readers: list[VideoReader] = [ImageReader(), *(each for each in asked if each.name not in absent)]
        self.time_limit = time_limit
        self._left_behind: set[tuple[str, str]] = set()  # readers and paths: each would leave one more thread behind

    def scan(self, source: FileOrBytes) -> VideoFacts:
        """Facts of a file, by the image reader where it is a photograph, else by PyAV's packets."""
        reader = self.readers[0] if ImageReader.knows(source) else self.readers[-1]
        return self._in_time(reader, source, partial(reader.scan, source))

    def reader_of(self, facts: VideoFacts) -> VideoReader | None:
        """The first reader that gets such a file right."""
        return next((reader for reader in self.readers if reader.objection(facts) is None), None)

    def decode(
        self,
        source: FileOrBytes,
        facts: VideoFacts,
        frame_ids: Sequence[int],
        crop_box: CropBox | None = None,
        size: tuple[int, int] | None = None,
    ) -> np.ndarray:  # (T, H, W, 3) uint8 RGB
        """By the first reader that can. Raises VideoError with each reader's reason where none can."""
        reasons = []
        for reader in self.readers:
            reason = reader.objection(facts)
            if reason is None:
                work = partial(reader.decode, source, facts, frame_ids, crop_box, size)
                try:
                    return self._in_time(reader, source, work)
                except VideoError as error:
                    reason = str(error)
            if reader.name != ImageReader.name:
                reasons.append(f"{reader.name}: {reason}")
        raise VideoError("; ".join(reasons))

    def _in_time(self, reader: VideoReader, source: FileOrBytes, work: Callable[[], T]) -> T:
        reason = f"it did not return within {self.time_limit:g} s" if self.time_limit else ""
        if isinstance(source, str) and (reader.name, source) in self._left_behind:
            raise OutOfTimeError(reason)
        try:
            return with_time_limit(work, self.time_limit, reason)
        except OutOfTimeError:
            if isinstance(source, str):
                self._left_behind.add((reader.name, source))
            raise
