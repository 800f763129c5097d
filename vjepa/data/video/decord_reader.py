"""Frames by decord 0.6, the default reader, for those kinds of file on which its frames were measured to be right."""

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from vjepa.data.video.facts import FileOrBytes, Trait, VideoError, VideoFacts, check_size, reason_of
from vjepa.data.video.transforms import CropBox, crop_resize

CONTAINERS = frozenset(["mov", "matroska", "avi"])
CODECS = frozenset(["h264", "hevc", "mpeg4", "h263", "vp8", "vp9", "mjpeg"])
# Eight bits. Its conversion of more bits is off by up to 180 of 255.
PIXEL_FORMATS = frozenset(["yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "gray"])
# With these it hangs, is frames off, or repeats a frame without an error.
WRONG_WITH = (Trait.EDIT_LIST, Trait.OPEN_GOP, Trait.HIDDEN_FRAMES, Trait.DAMAGED, Trait.RESIZED)


class DecordReader:
    """A VideoReader over decord, always with one thread.

    decord's default slows down big machines, and -1 returns blank VP8 frames without an error (measured).
    """

    name = "decord"

    def missing(self) -> str | None:
        try:
            _decord()
        except (ImportError, OSError, RuntimeError) as error:
            return f"decord is not installed or does not load ({reason_of(error)})"
        return None

    def objection(self, facts: VideoFacts) -> str | None:
        wrong = [trait for trait in WRONG_WITH if trait in facts.traits]
        if facts.container not in CONTAINERS:
            return f"frames of {facts.container} files are not always right"
        if facts.codec not in CODECS:
            return f"frames of {facts.codec} are not always right"
        if facts.pixel_format not in PIXEL_FORMATS:
            return f"colours of {facts.pixel_format} are wrong"
        if "444" not in facts.pixel_format and (facts.width % 2 or facts.height % 2):
            return f"colours of odd sizes ({facts.width}x{facts.height}) are wrong"
        if min(facts.width, facts.height) < 16:
            return f"frames of {facts.width}x{facts.height} pixels are too small"
        if wrong:
            return f"frames with {wrong[0].value.replace('_', ' ')} are wrong"
        if Trait.UNTIMED in facts.traits and (facts.container != "avi" or Trait.REORDERED in facts.traits):
            return "reordered frames without times are not found"
        return "mirroring is not applied" if facts.orientation.is_mirrored else None

    def decode(
        self,
        source: FileOrBytes,
        facts: VideoFacts,
        frame_ids: Sequence[int],
        crop_box: CropBox | None = None,
        size: tuple[int, int] | None = None,
    ) -> UInt8[np.ndarray, "T H W 3"]:
        decord = _decord()
        try:
            video = decord.VideoReader(source if isinstance(source, str) else io.BytesIO(source), num_threads=1)
            batch = video.get_batch(list(frame_ids))
        except (RuntimeError, IndexError, UnicodeEncodeError, decord.DECORDError) as error:  # names need not be UTF-8
            # Without time, location in decord's source, and path: "[12:00:00] /src/reader.cc:270: [a.mp4] no frames".
            plain = re.sub(r"^(\[[\d:]+\]\s*\S+\.cc:\d+:\s*)+", "", reason_of(error))
            raise VideoError(plain[:200]) from error
        # An open reader decodes on to the end of the file: close it before the frames are copied.
        del video
        frames = batch.asnumpy()
        check_size(frames, facts)
        return crop_resize(frames, crop_box, size)


def _decord() -> Any:
    import torch  # noqa: F401 (before decord: the other order has crashed CUDA processes)

    # isort: split
    import decord

    decord.logging.set_level(decord.logging.QUIET)  # the quarantine reports what is wrong with a file
    return decord
