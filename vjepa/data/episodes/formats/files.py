"""Opening the files that formats consist of. Errors are ValueErrors that name the file."""

import json
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vjepa.data.optional import optional
from vjepa.data.video.storage import without_clutter

T = TypeVar("T")
BROKEN_ZIP = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)


class NpzArrays(Mapping[str, np.ndarray]):
    """Arrays of an .npz file, read when they are asked for.

    Raises:
        ValueError: the file is not one, or an array can't be read or holds objects.
    """

    def __init__(self, path: Path):
        self.path = path
        if not zipfile.is_zipfile(path):
            raise ValueError(f"{path} is no .npz file, or it is cut short; write it again")
        try:
            self._arrays: np.lib.npyio.NpzFile = np.load(path, allow_pickle=False)
        except BROKEN_ZIP as error:
            raise ValueError(f"{path} is no .npz file that can be read: {error}") from None

    def __getitem__(self, name: str) -> np.ndarray:
        try:
            array: np.ndarray = self._arrays[name]
        except BROKEN_ZIP as error:
            raise ValueError(
                f"array '{name}' of {self.path} can't be read: {error}; arrays must be of numbers, not of objects"
            ) from None
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays.files)

    def __len__(self) -> int:
        return len(self._arrays.files)

    def __enter__(self) -> "NpzArrays":
        return self

    def __exit__(self, *error: object) -> None:
        self._arrays.close()


def files_below(folder: Path, pattern: str) -> list[Path]:
    """Files by a pattern of `Path.glob`, in order, without hidden and system files."""
    found = sorted(folder.glob(pattern))
    names = [(str(path), path.relative_to(folder).as_posix()) for path in found]
    return [Path(path) for path, _ in without_clutter(names, str(folder))]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises ValueError where the file is absent or something else."""
    return json_object(read_text(path), str(path))


def read_text(path: Path) -> str:
    """A text in UTF-8. Raises ValueError where the file is absent or something else."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}; the dataset is not whole") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} can't be read as text: {error}") from None


def json_object(text: str, where: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{where} is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{where} must hold a JSON object, not {type(content).__name__}")
    return content


def entry(content: Mapping[str, Any], key: str, kind: type[T] | tuple[type[T], ...], where: str) -> T:
    """A value of such a type. Raises ValueError where it is absent or of another."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if key not in content:
        raise ValueError(f"{where} has no '{key}'; it has {', '.join(content) or 'nothing'}")
    value = content[key]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = " or ".join(each.__name__ for each in kinds)
        raise ValueError(f"'{key}' of {where} must be of type {names}, not {value!r}")
    return value


def import_h5py(needed_for: Path) -> Any:
    return optional("h5py", f"reading {needed_for}", "hdf5")


def read_parquet(path: Path, columns: Collection[str]) -> Any:
    """Some columns of a table. Raises ValueError where it can't be read or lacks one."""
    absent = set(columns) - set(parquet_columns(path))
    if absent:
        raise ValueError(f"{path} must have the columns {', '.join(columns)}, and lacks {', '.join(sorted(absent))}")
    with _parquet_errors(path) as parquet:
        return parquet.read_table(path, columns=list(columns), partitioning=None)


def parquet_columns(path: Path) -> list[str]:
    with _parquet_errors(path) as parquet:
        names: list[str] = parquet.read_schema(path).names
        return names


@contextmanager
def _parquet_errors(path: Path) -> Iterator[Any]:
    arrow, parquet = (optional(each, f"reading {path}", "parquet") for each in ("pyarrow", "pyarrow.parquet"))
    try:
        yield parquet
    except (OSError, arrow.ArrowException) as error:
        raise ValueError(f"{path} is no Parquet file that can be read: {error}") from None


def stacked_rows(rows: Sequence[Any], what: str) -> np.ndarray:
    """Rows of a table as one array. Raises ValueError where they are not of as many numbers."""
    try:
        return np.array(rows, np.float64)
    except (ValueError, TypeError):
        sizes = [len(row) if isinstance(row, Sequence) else None for row in rows]
        odd = next((row for row, size in enumerate(sizes) if size != sizes[0]), 0)
        raise ValueError(
            f"{what} must be of as many numbers in each row, and row {odd} has {rows[odd]!r}; mend that row"
        ) from None


def check_present(paths: Iterable[Path], named_by: Path) -> None:
    """Raise ValueError where files that a dataset names are absent."""
    absent = [path for path in paths if not path.is_file()]
    if absent:
        raise ValueError(f"{len(absent)} of the files that {named_by} names are not there, the first is {absent[0]}")
