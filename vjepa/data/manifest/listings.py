"""Rows from lists of videos: tables, lists without a header, folders, on disk or in an object store."""

import csv
import os
from collections.abc import Iterator
from io import StringIO
from pathlib import PurePath
from typing import Any

from vjepa.data.manifest.class_names import is_whole
from vjepa.data.optional import optional
from vjepa.data.video import storage
from vjepa.data.video.image_reader import IMAGE_SUFFIXES

_VIDEOS = "mp4 mov m4v avi divx mkv webm 3gp flv mpg mpeg ps vob ts m2ts mts wmv asf ogv gif"
VIDEO_SUFFIXES = frozenset(f".{name}" for name in _VIDEOS.split())
SUFFIXES = VIDEO_SUFFIXES | IMAGE_SUFFIXES
csv.field_size_limit(2**24)  # characters in one cell; annotations can be long


class NoPathColumnError(ValueError):
    """A text file is neither a table with a `path` column nor a list."""


def folder_of(name: str) -> str | None:
    """The folder that a dataset without a list is in: the name of a folder, or of one video. None for a list."""
    if storage.is_folder(name):
        return name
    return storage.parent(name) if PurePath(name).suffix.lower() in SUFFIXES else None


def rows_of_folder(name: str) -> list[dict[str, str]]:
    """Path, path inside the folder, and class (the first sub-folder) of one video or all below a folder."""
    if not storage.is_folder(name):
        return [{"path": name, "inside": PurePath(name).name, "label": ""}]
    return [
        {"path": path, "inside": inside, "label": inside.partition("/")[0] if "/" in inside else ""}
        for path, inside in storage.files_below(name)
        if PurePath(path).suffix.lower() in SUFFIXES
    ]


def rows_of_file(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where each row of a manifest file is, and its cells by column. Raises ValueError if it is not a manifest."""
    suffix = PurePath(name).suffix.lower()
    if suffix == ".npy":
        raise ValueError(f"{name} is a NumPy file, which may carry code; save it as text, `path label` in each line")
    if suffix in (".parquet", ".pq"):
        return _rows_of_parquet(name)
    try:
        text = storage.read_text(name, "a CSV text file")
    except OSError as error:
        raise ValueError(f"the manifest {name} can't be read: {error}") from None
    except ValueError as error:
        raise ValueError(
            f"{error}; a dataset is a CSV, Parquet or list file, a folder, or one video or image with its usual ending"
        ) from None
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
        if "path" in map(str.strip, next(csv.reader([line], delimiter=delimiter), [])):
            return delimiter
    return None


def _rows_with_header(name: str, text: str, delimiter: str) -> Iterator[tuple[str, dict[str, Any]]]:
    table = csv.DictReader(StringIO(text, newline=""), delimiter=delimiter)
    try:
        table.fieldnames = [column.strip() for column in table.fieldnames or ()]
        for row in table:
            if any(row.get(None, ())):
                raise ValueError(
                    f"line {table.line_num} of {name} has more cells than the header has columns "
                    f"({len(table.fieldnames)}); put a cell with a '{delimiter}' in it in quotes"
                )
            if row["path"]:
                yield f"line {table.line_num} of {name}", row
    except csv.Error as error:
        raise ValueError(f"line {table.line_num} of {name} is not CSV: {error}") from None


def _rows_of_parquet(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    arrow, parquet = (optional(each, f"reading {name}", "parquet") for each in ("pyarrow", "pyarrow.parquet"))
    try:
        file = parquet.ParquetFile(arrow.BufferReader(storage.read_bytes(name)))
    except (arrow.ArrowInvalid, OSError) as error:
        raise ValueError(f"the manifest {name} is not a Parquet file: {error}") from None
    if "path" not in file.schema_arrow.names:
        found = ", ".join(file.schema_arrow.names)
        raise ValueError(f"the manifest {name} has no column 'path' (found: {found or 'nothing'})")
    rows = (row for batch in file.iter_batches() for row in batch.to_pylist())
    binary = [field.name for field in file.schema_arrow if str(field.type) in ("binary", "large_binary")]
    if binary:  # text without a type
        rows = (row | {name: os.fsdecode(row[name] or b"") for name in binary} for row in rows)
    return ((f"row {number} of {name}", row) for number, row in enumerate(rows, start=1) if row["path"])


def _is_list_line(line: str) -> bool:
    path, label = _split_list_line(line, _separator(line))
    return label is not None or PurePath(path).suffix.lower() in SUFFIXES


def _separator(line: str) -> str | None:  # None: white space
    if "::" in line.replace("://", "", 1):
        return "::"
    return "," if "," in line and is_whole(line.rpartition(",")[2].strip()) else None


def _split_list_line(line: str, separator: str | None) -> tuple[str, int | None]:
    """Path, without quotes around it, and label. Only the last part is a label, so paths may contain spaces."""
    parts = line.strip().rsplit(separator, 1)
    labelled = len(parts) == 2 and is_whole(parts[1].strip())
    path = parts[0].strip() if labelled else line.strip()
    if len(path) > 2 and path[0] == path[-1] and path[0] in "\"'":
        path = path[1:-1].replace(path[0] * 2, path[0])
    return path, int(parts[1]) if labelled else None


def _rows_of_list(name: str, text: str, first_line: str) -> Iterator[tuple[str, dict[str, Any]]]:
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
        yield f"line {number} of {name}", {"path": path, "label": "" if label is None else str(label)}
