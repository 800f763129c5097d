"""Masks of a video's frames: one NumPy archive, one image for each frame, or one image for an image."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
from jaxtyping import Int32
from PIL import Image, UnidentifiedImageError

from vjepa.data.video import storage
from vjepa.data.video.image_reader import IMAGE_SUFFIXES

VOID = -1  # pixels, and whole frames, without a label
Masks = Int32[np.ndarray, "T H W"]


def read_masks(path: str, frame_names: Sequence[str]) -> Masks:
    """Values of each frame's mask, VOID in frames that have none.

    Args:
        path: an `.npz` with `mask` (T, H, W) of whole numbers; a folder of images, named as the frames or, where there
            is one for each frame, in their order; or one image, the mask of a single frame. Images of a palette hold
            its indices, those of one bit 0 and 1.
        frame_names: of the video's frames, in order, without suffix.

    Raises ValueError, with the path, where there is no such file, or it does not hold masks of these frames.
    """
    if not storage.exists(path):
        raise ValueError(f"there is no mask {path}")
    if path.endswith(".npz"):
        masks = _archived(path)
    elif storage.is_folder(path):
        masks = _in_folder(path, frame_names)
    else:
        masks = _image(path)[None]
    if len(masks) != len(frame_names):
        raise ValueError(f"{path} has masks of {len(masks)} frames, and its video has {len(frame_names)}")
    return masks


def _archived(path: str) -> Masks:
    try:
        with np.load(io.BytesIO(storage.read_bytes(path)), allow_pickle=False) as archive:
            masks = archive["mask"]
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no archive of masks with an array 'mask' ({error})") from None
    if masks.ndim != 3 or masks.dtype.kind not in "biu":
        raise ValueError(
            f"'mask' in {path} is {masks.dtype} of shape {masks.shape}; it must be whole numbers of (frames, height, "
            f"width)"
        )
    return masks.astype(np.int32)


def _in_folder(path: str, frame_names: Sequence[str]) -> Masks:
    files = [file for file, inside in storage.files_below(path) if PurePath(inside).suffix.lower() in IMAGE_SUFFIXES]
    if not files:
        raise ValueError(f"the folder {path} holds no masks (images such as 00000.png)")
    number_of = {name: number for number, name in enumerate(frame_names)}
    numbers = [number_of.get(PurePath(file).stem) for file in files]
    if None in numbers:
        if len(files) != len(frame_names):
            stray = next(file for file, number in zip(files, numbers, strict=True) if number is None)
            raise ValueError(
                f"{stray} is named as none of its video's {len(frame_names)} frames ({frame_names[0]}, ...), and the "
                f"{len(files)} masks beside it are not one for each"
            )
        numbers = list(range(len(files)))
    masks: Masks | None = None
    for file, number in zip(files, numbers, strict=True):
        mask = _image(file)
        if masks is None:
            masks = np.full((len(frame_names), *mask.shape), VOID, np.int32)
        elif mask.shape != masks.shape[1:]:
            raise ValueError(f"{file} is {_size(mask)}, and {files[0]} is {_size(masks[0])}")
        masks[number] = mask
    assert masks is not None
    return masks


def _image(path: str) -> Int32[np.ndarray, "H W"]:
    try:
        with Image.open(io.BytesIO(storage.read_bytes(path))) as image:
            values = np.asarray(image)
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"the mask {path} can't be read as an image ({error})") from None
    if values.ndim != 2 or values.dtype.kind not in "biu":
        raise ValueError(
            f"the mask {path} is an image of colours or fractions (mode {image.mode}); a mask has one whole number for "
            f"each pixel: grey, or indices of a palette"
        )
    return values.astype(np.int32)


def _size(mask: np.ndarray) -> str:
    return f"{mask.shape[1]}x{mask.shape[0]}"
