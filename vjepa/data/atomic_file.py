"""Atomic writing: a file is complete or absent."""

import csv
import errno
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DISK_ERRORS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EIO,
)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A temporary file in the same folder that becomes `path` once it is complete and on disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with writing(path, temporary):
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Raises OSError with this path where the disk is full or can't be written, whatever a library raises inside."""
    try:
        yield
    except Exception as error:
        cause = disk_error(error)
        if cause is None or cause.filename not in (None, str(temporary)):
            raise
        raise OSError(cause.errno, os.strerror(cause.errno or 0), str(path)) from error


def disk_error(error: BaseException | None) -> OSError | None:
    """The error of the disk that another one comes from (libraries in C++ and Rust hide it), or None.

    An error that is raised `from None` says all itself.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            return error
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number and int(number[1]) in DISK_ERRORS:
            return OSError(int(number[1]), os.strerror(int(number[1])))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


def write_text(path: Path, text: str) -> None:
    """A text file in UTF-8. Makes its folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any, indent: int = 1) -> None:
    """A JSON file, indented for reading. Makes its folder where it is missing."""
    write_text(path, json.dumps(content, indent=indent) + "\n")


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """A CSV file with a header line."""
    with (
        new_file(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.DictWriter(file, columns, lineterminator="\n", restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
