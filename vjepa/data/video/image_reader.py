"""Images as clips of one frame, by Pillow. (OpenCV can't read PNG files once decord is loaded: measured.)"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from vjepa.data.video.facts import FileOrBytes, VideoError, VideoFacts, check_size, reason_of
from vjepa.data.video.transforms import CropBox, crop_resize

IMAGE_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"])
FIRST_BYTES = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"II*\x00", b"MM\x00*", b"P6")


def is_image(source: FileOrBytes) -> bool:
    """By the file's suffix or its first bytes."""
    if isinstance(source, str):
        return Path(source).suffix.lower() in IMAGE_SUFFIXES
    return source.startswith(FIRST_BYTES) or (source[:4] == b"RIFF" and source[8:12] == b"WEBP")


def scan_image(source: FileOrBytes) -> VideoFacts:
    height, width = _decoded(source).shape[:2]
    return VideoFacts(num_frames=1, fps=1.0, width=width, height=height, container="image")


class ImageReader:
    """A VideoReader of image files: a clip of T frames shows the image T times."""

    name = "image"

    def missing(self) -> str | None:
        return None

    def objection(self, facts: VideoFacts) -> str | None:
        return None if facts.container == "image" else "this is not an image"

    def decode(
        self,
        source: FileOrBytes,
        facts: VideoFacts,
        frame_ids: Sequence[int],
        crop_box: CropBox | None = None,
        size: tuple[int, int] | None = None,
    ) -> UInt8[np.ndarray, "T H W 3"]:
        frames = _decoded(source)[None]
        check_size(frames, facts)
        return np.repeat(crop_resize(frames, crop_box, size), len(frame_ids), axis=0)


def _decoded(source: FileOrBytes) -> UInt8[np.ndarray, "H W 3"]:
    """RGB, upright."""
    try:
        with Image.open(source if isinstance(source, str) else io.BytesIO(source)) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except FileNotFoundError:
        raise VideoError("no such file") from None
    except UnidentifiedImageError:
        raise VideoError("the file is not an image that Pillow can read") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise VideoError(reason_of(error)) from error
