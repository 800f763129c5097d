"""Files on disk or in an object store. A path with `://` in it is read by fsspec as a whole and decoded from memory."""

import logging
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import lru_cache
from itertools import islice
from pathlib import PurePath
from typing import Any, NamedTuple

from vjepa.data.video.facts import FileOrBytes, VideoError

# Folders and files that systems and downloads leave behind, beside those whose names begin with a dot.
_CLUTTER = frozenset(["@eadir", "@tmp", "__macosx", "#recycle", "@recycle", "#snapshot", "lost+found", "$recycle.bin"])
_CLUTTER |= {"system volume information", "temporary items", "@__thumb", "@recently-snapshot", "found.000"}
_CLUTTER |= {"thumbs.db", "desktop.ini", "__pycache__"}
_UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".ytdl", ".aria2", ".!qb", ".tmp")


class Version(NamedTuple):
    """What tells a file from one that takes its place; None where it is not known."""

    num_bytes: int | None = None
    modified: float | None = None  # seconds since 1970


UNKNOWN = Version()
LOOK_UPS_AT_ONCE = 16
log = logging.getLogger(__name__)


def is_remote(path: str) -> bool:
    return "://" in path


def join(root: str, path: str) -> str:
    """A path below a root; an absolute path stays as it is."""
    if is_remote(path) or PurePath(path).is_absolute() or not root:
        return path
    return f"{root.rstrip('/')}/{path}"


def is_clutter(inside: str) -> bool:
    """Whether a file, by its path in a dataset's folder, is hidden, unfinished, or none of the user's.

    Such as `.ipynb_checkpoints/a.mp4`, `._a.mp4`, `@eaDir/a.mp4/thumb.jpg` or `a.mp4.part`.
    """
    names = inside.lower().split("/")
    return names[-1].endswith(_UNFINISHED) or any(name.startswith(".") or name in _CLUTTER for name in names)


def version_of(path: str) -> Version:
    """Size and time of a file, without reading it."""
    try:
        if not is_remote(path):
            status = os.stat(path)
            return Version(status.st_size, status.st_mtime)
        files, name = _file_system(path)
        info = files.info(name)
    except (OSError, ValueError, NotImplementedError):
        return UNKNOWN
    times = (info.get(key) for key in ("mtime", "LastModified", "last_modified", "updated", "created"))
    return Version(info.get("size"), next((_timestamp(time) for time in times if time is not None), None))


def versions_of(paths: Iterable[str]) -> Iterator[Version]:
    """Of many files, looked up side by side: a store or a file system over a network takes its time for each."""
    rest = iter(paths)
    with ThreadPoolExecutor(LOOK_UPS_AT_ONCE) as pool:
        while some := list(islice(rest, 4096)):  # the pool holds an object for each
            yield from pool.map(version_of, some)


def exists(path: str) -> bool:
    if not is_remote(path):
        return os.path.exists(path)
    files, name = _file_system(path)
    return bool(files.exists(name))


def where_looked_for(path: str) -> str:
    """Where a missing file was looked for, in brackets; "" for a whole path."""
    if is_remote(path) or PurePath(path).is_absolute():
        return ""
    return f" (from {os.getcwd()}, and for a path in a recipe from the recipe's folder and the three above it)"


def is_folder(path: str) -> bool:
    if not is_remote(path):
        return os.path.isdir(path)
    files, name = _file_system(path)
    return bool(files.isdir(name))


def fetch(path: str) -> FileOrBytes:
    """A reader's source: the path of a file on disk, the bytes of one in a store. Raises VideoError."""
    if not is_remote(path):
        return path
    try:
        return read_bytes(path)
    except FileNotFoundError:
        raise VideoError("no such file") from None
    except OSError as error:
        raise VideoError(f"the store does not return it ({error})") from error


def read_bytes(path: str) -> bytes:
    if not is_remote(path):
        with open(path, "rb") as file:
            return file.read()
    files, name = _file_system(path)
    return files.cat_file(name)


def read_text(path: str, kind: str) -> str:
    """UTF-8, with or without a byte order mark. Raises ValueError if the file is not text."""
    content = read_bytes(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reason = f"byte {error.start} is 0x{content[error.start]:02x}"
    else:
        if "\0" not in text:
            return text
        reason = f"byte {content.index(0)} is 0"
    raise ValueError(f"{path} is not {kind} in UTF-8 ({reason})")


def files_below(folder: str) -> list[tuple[str, str]]:
    """The files below a folder, in order: the path, and the path relative to the folder. Clutter is left out."""
    if not is_remote(folder):
        found = [os.path.join(parent, name) for parent, _, names in os.walk(folder, followlinks=True) for name in names]
        return without_clutter([(path, os.path.relpath(path, folder)) for path in sorted(found)], folder)
    files, name = _file_system(folder)
    paths = [(files.unstrip_protocol(path), path.removeprefix(name).lstrip("/")) for path in sorted(files.find(name))]
    return without_clutter(paths, folder)


def without_clutter(files: list[tuple[str, str]], folder: str) -> list[tuple[str, str]]:
    """Paths, and paths relative to a folder, without those of clutter; their number is said once."""
    kept = [(path, inside) for path, inside in files if not is_clutter(inside)]
    if len(kept) < len(files):
        first = next(inside for _, inside in files if is_clutter(inside))
        warn_once(f"skipped {len(files) - len(kept)} hidden or system files below {folder}, such as {first}")
    return kept


@lru_cache
def warn_once(text: str) -> None:
    """Log a line once per process."""
    log.warning(text)


def parent(path: str) -> str:
    """The folder of a file."""
    scheme, separator, rest = path.rpartition("://")
    if not separator:
        return os.path.dirname(path) or "."
    return f"{scheme}://{rest.rpartition('/')[0]}"


def _timestamp(time: Any) -> float | None:
    try:
        time = datetime.fromisoformat(time) if isinstance(time, str) else time
        return float(time.timestamp() if isinstance(time, datetime) else time)
    except (TypeError, ValueError):
        return None


def _file_system(path: str) -> tuple[Any, str]:
    """Raises ValueError if a package for such a store is missing."""
    import fsspec

    try:
        files, name = fsspec.core.url_to_fs(path)
        return files, str(name)
    except (ImportError, ValueError) as error:
        raise ValueError(f"{path} can't be read: {error}") from None
