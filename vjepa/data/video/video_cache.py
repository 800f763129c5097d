"""A cache of decoded videos: where a dataset fits into memory, later epochs decode nothing."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from vjepa.data.video.facts import FileOrBytes, VideoError, VideoFacts
from vjepa.data.video.reader import ReaderChain
from vjepa.data.video.storage import Version, version_of
from vjepa.data.video.transforms import CropBox, crop_resize

LARGEST_FRACTION = 0.01  # of the cache, for one video


class VideoCache:
    """Readers that cache whole videos while there is room; frames are the same bit for bit.

    Long videos, those that can't be decoded to their end, and those that come as bytes are decoded each time. The cache
    is not pickled.

    Args:
        readers: decode what is not cached.
        gigabytes: of frames in uint8, per decoding process.
    """

    def __init__(self, readers: ReaderChain, gigabytes: float):
        self.readers = readers
        self.limit = int(gigabytes * 1e9)
        self._videos: dict[tuple[str, Version], np.ndarray | None] = {}  # None: can't be decoded as a whole
        self._bytes = 0

    def scan(self, source: FileOrBytes) -> VideoFacts:
        return self.readers.scan(source)

    def decode(
        self,
        source: FileOrBytes,
        facts: VideoFacts,
        frame_ids: Sequence[int],
        crop_box: CropBox | None = None,
        size: tuple[int, int] | None = None,
    ) -> UInt8[np.ndarray, "T H W 3"]:
        """As `ReaderChain.decode`."""
        video = self._video(source, facts) if isinstance(source, str) else None
        if video is None:
            return self.readers.decode(source, facts, frame_ids, crop_box, size)
        return crop_resize(video[list(frame_ids)], crop_box, size)

    def _video(self, path: str, facts: VideoFacts) -> UInt8[np.ndarray, "T H W 3"] | None:
        key = path, version_of(path)
        if key not in self._videos:
            size = 3 * facts.num_frames * facts.height * facts.width
            if size > LARGEST_FRACTION * self.limit or self._bytes + size > self.limit:
                return None
            try:
                self._videos[key] = self.readers.decode(path, facts, range(facts.num_frames))
                self._bytes += size
            except VideoError:
                self._videos[key] = None  # single frames of it may still be readable
        return self._videos[key]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_videos": {}, "_bytes": 0}
