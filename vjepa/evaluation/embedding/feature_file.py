"""Feature files of videos, in safetensors or npz, written batch by batch, so that long videos need no memory.

Arrays have a row for each window: `start_seconds`, `end_seconds`, and `features` or `level_{k}`, (windows, D) or
(windows, N, D). Dense features have also `token_grid` (3,): tokens over time, height and width. Metadata are strings.
"""

import json
import math
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from vjepa.data.atomic_file import new_file, writing

FileFormat = Literal["safetensors", "npz"]
_DTYPE_NAMES = {"float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64"}  # as safetensors has them


class VideoFeatures(NamedTuple):
    """The content of a feature file."""

    arrays: dict[str, np.ndarray]
    metadata: dict[str, str]


def read_features(path: Path | str) -> VideoFeatures:
    """Arrays and metadata of a feature file of either format. Raises ValueError where it is none."""
    try:
        if Path(path).suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            return VideoFeatures(arrays, json.loads(str(arrays.pop("metadata"))))
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
        return VideoFeatures(load_file(path), metadata)
    except FileNotFoundError:
        raise ValueError(f"there is no feature file {path}") from None
    except (SafetensorError, zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        raise ValueError(f"{path} is no feature file of `vjepa embed` (or was cut short): {error}") from None


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a feature file; empty where it is missing or broken."""
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return dict(json.loads(str(file["metadata"])))
        with safe_open(path, "np") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError, zipfile.BadZipFile, KeyError, ValueError, EOFError):
        return {}


class Array(NamedTuple):
    """An array that is written row by row."""

    dtype: np.dtype
    shape: tuple[int, ...]  # rows first


class FeatureFile:
    """An unfinished feature file.

    Args:
        part: temporary file that rows are written to; `finish` makes the feature file of it.
        whole: complete arrays.
        arrays: arrays whose rows will be written.
        metadata: strings.
    """

    def __init__(
        self, part: Path, whole: Mapping[str, np.ndarray], arrays: Mapping[str, Array], metadata: Mapping[str, str]
    ):
        self.part = part
        self.metadata = dict(metadata)
        layouts = {name: Array(array.dtype, array.shape) for name, array in whole.items()} | dict(arrays)
        header: dict[str, Any] = {"__metadata__": self.metadata}
        self._layouts: dict[str, tuple[Array, int]] = {}  # with the offset of each
        position = 0
        for name, layout in layouts.items():
            size = math.prod(layout.shape) * layout.dtype.itemsize
            dtype, shape = _DTYPE_NAMES[layout.dtype.name], list(layout.shape)
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + size]}
            self._layouts[name] = layout, position
            position += size
        encoded = json.dumps(header).encode()
        encoded += b" " * (-len(encoded) % 8)
        self._data_start = 8 + len(encoded)
        with writing(part), part.open("wb") as file:
            file.write(len(encoded).to_bytes(8, "little") + encoded)
            file.truncate(self._data_start + position)
        self.write(0, whole)

    def write(self, first_row: int, rows: Mapping[str, np.ndarray]) -> None:
        """Write consecutive rows."""
        with writing(self.part), self.part.open("r+b") as file:
            for name, values in rows.items():
                layout, position = self._layouts[name]
                assert values.dtype == layout.dtype and values.shape[1:] == layout.shape[1:]
                row_size = math.prod(layout.shape[1:]) * layout.dtype.itemsize
                file.seek(self._data_start + position + first_row * row_size)
                file.write(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)

    def finish(self, target: Path, format: FileFormat) -> None:
        """Make the feature file, atomically."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with new_file(target) as temporary:
            if format == "safetensors":
                shutil.move(self.part, temporary)
            else:
                arrays: dict[str, Any] = {name: self._mapped(name) for name in self._layouts}
                with temporary.open("wb") as file:
                    np.savez(file, metadata=json.dumps(self.metadata), **arrays)
        self.discard()

    def discard(self) -> None:
        """Delete the temporary file."""
        self.part.unlink(missing_ok=True)

    def _mapped(self, name: str) -> np.ndarray:
        layout, position = self._layouts[name]
        return np.memmap(self.part, layout.dtype, "r", self._data_start + position, layout.shape)
