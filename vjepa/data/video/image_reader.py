"""Images as clips of one frame, by Pillow. (OpenCV can't read PNG files once decord is loaded: measured.)

Grey of 12 or 16 bits is scaled by its depth, float by 0 to 1. Where values do not fit their range, or reach less than a
sixteenth of it (12 bits in a file of 16), their depth is not known, and the image counts as unreadable.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from vjepa.data.video.facts import FileOrBytes, VideoError, VideoFacts, check_size, reason_of
from vjepa.data.video.transforms import CropBox, crop_resize

IMAGE_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"])
FIRST_BYTES = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"II*\x00", b"MM\x00*", b"P6")
BITS_PER_SAMPLE, PHOTOMETRIC, MAX_SAMPLE_VALUE = 258, 262, 281  # tags of a TIFF file


def is_image(source: FileOrBytes) -> bool:
    """By the file's suffix or its first bytes."""
    if isinstance(source, str):
        return Path(source).suffix.lower() in IMAGE_SUFFIXES
    return source.startswith(FIRST_BYTES) or (source[:4] == b"RIFF" and source[8:12] == b"WEBP")


def scan_image(source: FileOrBytes) -> VideoFacts:
    pixels, pixel_format = _decoded(source)
    height, width = pixels.shape[:2]
    return VideoFacts(1, 1.0, width, height, container="image", pixel_format=pixel_format)


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
        frames = _decoded(source)[0][None]
        check_size(frames, facts)
        return np.repeat(crop_resize(frames, crop_box, size), len(frame_ids), axis=0)


def _decoded(
    source: FileOrBytes,
) -> tuple[UInt8[np.ndarray, "H W 3"], str]:
    """RGB, upright, and ffmpeg's name of the format where it has more than 8 bits."""
    try:
        # Not by its path: Pillow then maps the file, and garbles uncompressed TIFF that lies on its side.
        with (
            open(source, "rb") if isinstance(source, str) else io.BytesIO(source) as file,
            Image.open(file) as image,
        ):
            stored = _stored_format(image)
            tags = dict(getattr(image, "tag_v2", {}))
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith(("I", "F")):
                grey, pixel_format = _grey_in_8_bits(np.asarray(upright), stored, tags)
                return np.repeat(grey[..., None], 3, axis=2), pixel_format
            pixels = np.asarray(upright.convert("RGB"))
    except FileNotFoundError:
        raise VideoError("no such file") from None
    except UnidentifiedImageError:
        raise VideoError("the file is not an image that Pillow can read") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise VideoError(reason_of(error)) from error
    if ";16" not in stored:
        if max(np.ravel(tags.get(BITS_PER_SAMPLE, 8))) > 8:  # Pillow takes planes of 16 bits for 8
            raise VideoError("its planes of more than 8 bits can't be read; write the colours of a pixel together")
        return pixels, ""
    if pixels.max() < 16:  # Pillow gives the upper 8 bits
        raise VideoError(_unknown_depth(256 * int(pixels.max()), 65535))
    return pixels, "rgb48"


def _stored_format(image: Any) -> str:  # typed loosely: Pillow's stubs have no tiles
    """Pillow's name of how an image's pixels are stored, such as `I;16B`."""
    arguments: Any = image.tile[0].args if image.tile else ""
    if not isinstance(arguments, tuple):
        return str(arguments)
    is_deep = image.format == "PPM" and arguments[1] > 255  # Pillow scales it to 16 bits
    return f"{arguments[0]};16" if is_deep else str(arguments[0])


def _grey_in_8_bits(
    values: Integer[np.ndarray, "H W"] | Float[np.ndarray, "H W"], stored: str, tags: dict[int, Any]
) -> tuple[UInt8[np.ndarray, "H W"], str]:
    """Grey scaled by its depth, and the name of its format. Raises VideoError where the depth is not known."""
    if stored.startswith("F"):
        largest, pixel_format = 1.0, "grayf32"
    elif stored == "I;12":
        largest, pixel_format = 4095, "gray12"
    elif stored in ("I;16", "I;16L", "I;16B", "I;16N", "L;16"):
        largest, pixel_format = 65535, "gray16"
    else:
        raise VideoError(f"grey values stored as {stored} have no usual range; write it in 8 or 16 bits")
    least, most = float(values.min()), float(values.max())
    declared = np.ravel(tags.get(MAX_SAMPLE_VALUE, 0))[0]
    is_said = pixel_format == "gray12" or declared in (1023, 4095, 16383)
    if pixel_format == "gray16" and is_said:
        largest = int(declared)
    if not (least >= 0 and most <= largest):  # nor NaN
        raise VideoError(
            f"grey values from {least:g} to {most:g} are not in the range from 0 to {largest:g} of {pixel_format}"
        )
    if 0 < most < largest / 16 and not is_said:
        raise VideoError(_unknown_depth(most, largest))
    grey = (values.astype(np.float32) * (255 / largest) + 0.5).astype(np.uint8)
    return (255 - grey if tags.get(PHOTOMETRIC) == 0 else grey), pixel_format  # then 0 is white


def _unknown_depth(most: float, largest: float) -> str:
    return (
        f"its values reach {most:g} of {largest:g}, which would be almost black: are they of fewer bits? write it in 8 "
        f"bits, or scaled to {largest:g} (or grey TIFF with the tag MaxSampleValue)"
    )
