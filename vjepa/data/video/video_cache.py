"""Small videos, decoded once and kept: where a dataset fits into memory, every later epoch decodes nothing."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vjepa.data.video.facts import FileOrBytes, VideoError, VideoFacts
from vjepa.data.video.reader import ReaderChain
from vjepa.data.video.transforms import CropBox, crop_resize

SMALL = 0.01  # the share of all that is kept which one video may take


class VideoCache:
    """Readers that keep whole videos of theirs, as long as there is room; frames are the same bit for bit.

    Long videos, those that can't be decoded to their end, and those that come as bytes are read anew each time. A copy
    for another process starts empty.

    Args:
        readers: what decodes.
        gigabytes: of frames in uint8, in each process that decodes.
    """

    def __init__(self, readers: ReaderChain, gigabytes: float):
        self.readers = readers
        self.limit = int(gigabytes * 1e9)
        self._kept: dict[str, np.ndarray | None] = {}  # None: not to be tried again
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
    ) -> np.ndarray:  # (T, H, W, 3) uint8 RGB
        """As `ReaderChain.decode`."""
        whole = self._whole(source, facts) if isinstance(source, str) else None
        if whole is None:
            return self.readers.decode(source, facts, frame_ids, crop_box, size)
        return crop_resize(whole[list(frame_ids)], crop_box, size)

    def _whole(self, path: str, facts: VideoFacts) -> np.ndarray | None:
        if path not in self._kept:
            size = 3 * facts.num_frames * facts.height * facts.width
            if size > SMALL * self.limit or self._bytes + size > self.limit:
                return None
            try:
                self._kept[path] = self.readers.decode(path, facts, range(facts.num_frames))
                self._bytes += size
            except VideoError:
                self._kept[path] = None  # the frames that are asked for may still be there
        return self._kept[path]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": {}, "_bytes": 0}
