"""Videos that are embedded, and the names of their feature files."""

import os
from collections.abc import Iterator, Sequence

from vjepa.data.clips.sliding_windows import Video
from vjepa.data.manifest.listings import folder_of
from vjepa.data.manifest.manifest import ROOT_VARIABLE, read_manifest
from vjepa.data.paths import expanded
from vjepa.data.video import storage


def videos_of(sources: Sequence[str], root: str | None = None, split: str | None = None) -> dict[str, Video]:
    """The videos of all sources by unique names, which hardly ever depend on the other sources.

    A name is the path below the source's folder, a manifest's `root` or $VJEPA_DATA, or else the whole path, and the
    seconds where it is only a part of a file.
    """
    videos: dict[str, Video] = {}
    for source in map(expanded, map(str, sources)):
        for video, bases in _listed(source, root, split):
            name = _name_of(video, bases)
            if videos.get(name, video) != video:  # a/1.mp4 and b/1.mp4 of two folders
                name = _name_of(video, [])
            videos[name] = video
    return videos


def _listed(source: str, root: str | None, split: str | None) -> Iterator[tuple[Video, list[str]]]:
    """Videos of a source, with the folders that names may be relative to."""
    folder = folder_of(source)
    manifest = read_manifest(source, root, split if folder in (None, source) else None)  # one video has no splits
    roots = map(expanded, filter(None, [root, os.environ.get(ROOT_VARIABLE)]))
    bases = [folder or storage.parent(source), *roots]
    for row, path in enumerate(manifest.paths):
        yield Video(path, *manifest.window(row)), bases


def _name_of(video: Video, bases: Sequence[str]) -> str:
    path = _absolute(video.path)
    folders = [f"{_absolute(base)}/" for base in bases]
    inside = [path.removeprefix(folder) for folder in folders if path.startswith(folder)]
    name = inside[0] if inside else path.partition("://")[2] if storage.is_remote(path) else path.lstrip("/")
    if video.start is None and video.end is None:
        return name
    start, end = video.start or 0.0, "end" if video.end is None else f"{round(video.end, 3)}s"
    return f"{name}.{round(start, 3)}s-{end}"


def _absolute(path: str) -> str:
    return path.rstrip("/") if storage.is_remote(path) else os.path.abspath(path)
