"""Lists of videos with masks: a manifest with columns `path` and `mask`, or a folder of a dataset by patterns.

Patterns are paths below the folder with `{name}` and, where the folder has several splits, `{split}`:

| dataset | videos | masks | names |
|---|---|---|---|
| DAVIS-2017 | JPEGImages/480p/{name} | Annotations/480p/{name} | ImageSets/2017/{split}.txt |
| YouTube-VOS | {split}/JPEGImages/{name} | {split}/Annotations/{name} | |
| ADE20K | images/{split}/{name}.jpg | annotations/{split}/{name}.png | |
"""

import re
from typing import NamedTuple

from vjepa.data.manifest.class_names import class_name
from vjepa.data.manifest.listings import rows_of_file
from vjepa.data.manifest.manifest import root_of
from vjepa.data.paths import expanded
from vjepa.data.video import storage


class Entry(NamedTuple):
    """A video or an image, and its masks; paths of files or of folders of images."""

    name: str
    path: str
    mask: str


class FolderPatterns(NamedTuple):
    """Where a dataset's folder has its files (see above)."""

    videos: str
    masks: str
    names: str | None = None  # a text file with a name in each line; all that the folder has if None


def entries_of_manifest(source: str, root: str | None, split: str | None) -> list[Entry]:
    """Rows of a CSV or Parquet file. Raises ValueError where it lists no masks, or no row of the split."""
    name = expanded(source)
    if not storage.exists(name):
        raise ValueError(f"there is no manifest or folder {name}{storage.where_looked_for(name)}")
    if storage.is_folder(name):
        raise ValueError(f"{name} is a folder: say where it has videos and masks (--data.videos, --data.masks)")
    rows = []
    for where, row in rows_of_file(name):
        if "mask" not in row:
            raise ValueError(f"the manifest {name} has no column 'mask' in its header line (found: {', '.join(row)})")
        if split is not None and "split" not in row:
            raise ValueError(f"the manifest {name} has no column 'split' in its header line (found: {', '.join(row)})")
        if split is not None and class_name(str(row["split"])) != class_name(split):
            continue
        if not row["mask"]:
            raise ValueError(f"{where} names no mask; leave out videos without one")
        rows.append((str(row["path"]), str(row["mask"])))
    if not rows:
        raise ValueError(f"the manifest {name} lists no video" + (f" of split '{split}'" if split else ""))
    base = expanded(root) if root is not None else root_of(storage.parent(name), rows[0][0])
    return [Entry(path, *(storage.join(base, expanded(each)) for each in (path, mask))) for path, mask in rows]


def entries_of_folder(source: str, patterns: FolderPatterns, split: str | None) -> list[Entry]:
    """Videos that a folder's patterns find. Raises ValueError where there are none."""
    folder = expanded(source)
    if not storage.is_folder(folder):
        raise ValueError(f"there is no folder {folder}{storage.where_looked_for(folder)}")
    for pattern in patterns:
        if pattern and "{split}" in pattern and split is None:
            raise ValueError(f"'{pattern}' depends on the split, and none is given")
    videos, masks, names = ((pattern or "").replace("{split}", split or "") for pattern in patterns)
    for pattern in (videos, masks):
        if pattern.count("{name}") != 1:
            raise ValueError(f"'{pattern}' must have {{name}} once, for the name of a video")
    found = sorted(_listed(folder, names) if names else _matching(folder, videos))
    if not found:
        raise ValueError(f"{folder} holds nothing that matches {videos}")
    return [
        Entry(name, *(storage.join(folder, pattern.replace("{name}", name)) for pattern in (videos, masks)))
        for name in found
    ]


def _listed(folder: str, names: str) -> list[str]:
    file = storage.join(folder, names)
    if not storage.exists(file):
        raise ValueError(f"there is no list of names {file}")
    return storage.read_text(file, "a list of names").split()


def _matching(folder: str, pattern: str) -> set[str]:
    before, after = map(re.escape, pattern.split("{name}"))
    whole = re.compile(f"{before}([^/]+){after}(?:/|$)")  # a file, or a file in such a folder
    return {match[1] for _, inside in storage.files_below(folder) if (match := whole.match(inside))}
