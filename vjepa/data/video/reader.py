"""Video readers: their interface, and the chain that finds the reader of a given file.

Readers are tried in the order of the recipe. A reader that would return wrong frames of a file is skipped, and so is
one that fails or does not return in time; the next one reads the file.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from vjepa.data.video.decord_reader import DecordReader
from vjepa.data.video.facts import FileOrBytes, VideoError, VideoFacts, scan_video
from vjepa.data.video.image_reader import ImageReader, is_image, scan_image
from vjepa.data.video.pyav_reader import PyAVReader
from vjepa.data.video.time_limit import OutOfTimeError, with_time_limit
from vjepa.data.video.torchcodec_reader import TorchcodecReader
from vjepa.data.video.transforms import CropBox

ReaderName = Literal["decord", "pyav", "torchcodec"]
READERS: dict[str, Callable[[], "VideoReader"]] = {
    "decord": DecordReader,
    "pyav": PyAVReader,
    "torchcodec": TorchcodecReader,
}
T = TypeVar("T")


@runtime_checkable
class VideoReader(Protocol):
    """Stateless: opens a file in the process that reads it and closes it at once, because readers break in a fork."""

    name: str

    def missing(self) -> str | None:
        """Why this reader can't be used on this machine; None if it can."""
        ...

    def objection(self, facts: VideoFacts) -> str | None:
        """Why this reader would return wrong frames of such a file; None if it does not."""
        ...

    def decode(
        self,
        source: FileOrBytes,
        facts: VideoFacts,
        frame_ids: Sequence[int],  # from 0, in any order, repeats allowed
        crop_box: CropBox | None = None,  # of the shown frame; all of it if None
        size: tuple[int, int] | None = None,  # height and width to resize to; those of the box if None
    ) -> UInt8[np.ndarray, "T H W 3"]:
        """RGB frames. Raises VideoError where one can't be decoded."""
        ...


class ReaderChain:
    """Readers in order of preference; images always go to the image reader.

    Args:
        names: the order. The last should be `pyav`, which reads what the others do not.
        time_limit: seconds after which a reader that does not return is abandoned; never if None.

    Raises:
        ValueError: none of the readers can be used on this machine.
    """

    def __init__(self, names: Sequence[ReaderName] = ("decord", "pyav"), time_limit: float | None = 60.0):
        if not names or not set(names) <= set(READERS):
            raise ValueError(f"readers ({', '.join(names) or 'none'}) must be some of {', '.join(READERS)}")
        wanted = [READERS[name]() for name in names]
        missing = {reader.name: reason for reader in wanted if (reason := reader.missing()) is not None}
        if len(missing) == len(wanted):
            raise ValueError("no reader can be used: " + "; ".join(map(": ".join, missing.items())))
        self.readers: list[VideoReader] = [ImageReader(), *(each for each in wanted if each.name not in missing)]
        self.time_limit = time_limit
        self._abandoned: set[tuple[str, str]] = set()  # readers and paths; each retry would leave another thread

    def scan(self, source: FileOrBytes) -> VideoFacts:
        """Facts of an image or a video. Raises VideoError where it is neither."""
        name, scan = (ImageReader.name, scan_image) if is_image(source) else (PyAVReader.name, scan_video)
        return self._in_time(name, source, partial(scan, source))

    def reader_of(self, facts: VideoFacts) -> VideoReader | None:
        """The first reader that returns the right frames of such a file."""
        return next((reader for reader in self.readers if reader.objection(facts) is None), None)

    def decode(
        self,
        source: FileOrBytes,
        facts: VideoFacts,
        frame_ids: Sequence[int],
        crop_box: CropBox | None = None,
        size: tuple[int, int] | None = None,
    ) -> UInt8[np.ndarray, "T H W 3"]:
        """RGB frames by the first reader that can. Raises VideoError with each reader's reason where none can."""
        reasons = []
        for reader in self.readers:
            reason = reader.objection(facts)
            if reason is None:
                work = partial(reader.decode, source, facts, frame_ids, crop_box, size)
                try:
                    return self._in_time(reader.name, source, work)
                except VideoError as error:
                    reason = str(error)
            if reader.name != ImageReader.name:
                reasons.append(f"{reader.name}: {reason}")
        raise VideoError("; ".join(reasons))

    def _in_time(self, name: str, source: FileOrBytes, work: Callable[[], T]) -> T:
        reason = f"it did not return within {self.time_limit:g} s" if self.time_limit else ""
        if isinstance(source, str) and (name, source) in self._abandoned:
            raise OutOfTimeError(reason)
        try:
            return with_time_limit(work, self.time_limit, reason)
        except OutOfTimeError:
            if isinstance(source, str):
                self._abandoned.add((name, source))
            raise
