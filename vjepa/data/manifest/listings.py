"""Rows from lists of videos: tables, lists without a header, folders, on disk or in an object store."""

import csv
from collections.abc import Iterator
from io import StringIO
from pathlib import PurePath
from typing import Any

from vjepa.data.manifest.class_names import is_whole
from vjepa.data.video import storage
from vjepa.data.video.image_reader import IMAGE_SUFFIXES

_VIDEOS = "mp4 mov m4v avi divx mkv webm 3gp flv mpg mpeg ps vob ts m2ts mts wmv asf ogv gif"
VIDEO_SUFFIXES = frozenset(f".{name}" for name in _VIDEOS.split())
csv.field_size_limit(2**24)  # characters in one cell; annotations can be long


class NoPathColumnError(ValueError):
    """A text file is neither a table with a `path` column nor a list."""


def rows_of_folder(folder: str) -> list[dict[str, str]]:
    """Path, path inside the folder, and class (the first sub-folder) of every video and image below a folder."""
    return [
        {"path": path, "inside": inside, "label": inside.partition("/")[0] if "/" in inside else ""}
        for path, inside in storage.files_below(folder)
        if PurePath(path).suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES
    ]


def rows_of_file(name: str) -> Iterator[dict[str, Any]]:
    """The rows of a manifest file, by column. Raises ValueError if it is not a manifest."""
    suffix = PurePath(name).suffix.lower()
    if suffix == ".npy":
        raise ValueError(f"{name} is a NumPy file, which may carry code; save it as text, `path label` in each line")
    if suffix in (".parquet", ".pq"):
        return _rows_of_parquet(name)
    try:
        text = storage.read_text(name, "a CSV text file")
    except OSError as error:
        raise ValueError(f"the manifest {name} can't be read: {error}") from None
    first_line = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = _delimiter_of_header(first_line)
    if delimiter is not None:
        return _rows_with_header(name, text, delimiter)
    if _is_list_line(first_line):
        return _rows_of_list(name, text, first_line)
    raise NoPathColumnError(
        f"the manifest {name} has no column 'path' in its header line "
        f"(found: {', '.join(next(csv.reader([first_line]), [])) or 'nothing'})"
    )


def _delimiter_of_header(line: str) -> str | None:
    for delimiter in ",;\t":
        if "path" in next(csv.reader([line], delimiter=delimiter), []):
            return delimiter
    return None


def _rows_with_header(name: str, text: str, delimiter: str) -> Iterator[dict[str, Any]]:
    table = csv.DictReader(StringIO(text, newline=""), delimiter=delimiter)
    try:
        for row in table:
            if row["path"]:
                yield row
    except csv.Error as error:
        raise ValueError(f"the manifest {name} is not a CSV text file: {error}") from None


def _rows_of_parquet(name: str) -> Iterator[dict[str, Any]]:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise ValueError(f"reading {name} needs pyarrow: pip install 'vjepa[parquet]'") from None
    try:
        file = parquet.ParquetFile(arrow.BufferReader(storage.read_bytes(name)))
    except (arrow.ArrowInvalid, OSError) as error:
        raise ValueError(f"the manifest {name} is not a Parquet file: {error}") from None
    if "path" not in file.schema_arrow.names:
        found = ", ".join(file.schema_arrow.names)
        raise ValueError(f"the manifest {name} has no column 'path' (found: {found or 'nothing'})")
    return (row for batch in file.iter_batches() for row in batch.to_pylist() if row["path"])


def _is_list_line(line: str) -> bool:
    path, label = _split_list_line(line, _separator(line))
    return label is not None or PurePath(path).suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES


def _separator(line: str) -> str | None:  # None: white space
    if "::" in line.replace("://", "", 1):
        return "::"
    return "," if "," in line and is_whole(line.rpartition(",")[2].strip()) else None


def _split_list_line(line: str, separator: str | None) -> tuple[str, int | None]:
    """Path and label. Only the last part is a label, so paths may contain spaces."""
    parts = line.strip().rsplit(separator, 1)
    if len(parts) == 2 and is_whole(parts[1].strip()):
        return parts[0].strip(), int(parts[1])
    return line.strip(), None


def _rows_of_list(name: str, text: str, first_line: str) -> Iterator[dict[str, Any]]:
    separator = _separator(first_line)
    labelled = _split_list_line(first_line, separator)[1] is not None
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        path, label = _split_list_line(line, separator)
        if labelled and label is None:
            raise ValueError(
                f"line {number} of {name} has no label, but the first line has one: {line.strip()[:80]!r}; "
                f"each line must be `path label`"
            )
        yield {"path": path, "label": "" if label is None else str(label)}
