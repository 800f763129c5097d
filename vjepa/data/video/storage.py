"""Files on disk or in an object store. A path with `://` in it is read by fsspec as a whole and decoded from memory."""

import os
from pathlib import PurePath
from typing import Any

from vjepa.data.video.facts import FileOrBytes, VideoError


def is_remote(path: str) -> bool:
    return "://" in path


def join(root: str, path: str) -> str:
    """A path below a root; an absolute path stays as it is."""
    if is_remote(path) or PurePath(path).is_absolute() or not root:
        return path
    return f"{root.rstrip('/')}/{path}"


def exists(path: str) -> bool:
    if not is_remote(path):
        return os.path.exists(path)
    files, name = _file_system(path)
    return bool(files.exists(name))


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
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not {kind}: {error}") from None


def files_below(folder: str) -> list[tuple[str, str]]:
    """All files below a folder, in order: the path, and the path relative to the folder."""
    if not is_remote(folder):
        found = [os.path.join(parent, name) for parent, _, names in os.walk(folder, followlinks=True) for name in names]
        return [(path, os.path.relpath(path, folder)) for path in sorted(found)]
    files, name = _file_system(folder)
    return [(files.unstrip_protocol(path), path.removeprefix(name).lstrip("/")) for path in sorted(files.find(name))]


def parent(path: str) -> str:
    """The folder of a file."""
    scheme, separator, rest = path.rpartition("://")
    if not separator:
        return os.path.dirname(path) or "."
    return f"{scheme}://{rest.rpartition('/')[0]}"


def _file_system(path: str) -> tuple[Any, str]:
    """Raises ValueError if a package for such a store is missing."""
    import fsspec

    try:
        files, name = fsspec.core.url_to_fs(path)
        return files, str(name)
    except (ImportError, ValueError) as error:
        raise ValueError(f"{path} can't be read: {error}") from None
