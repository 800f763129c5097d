"""What there is to train on: a list of video files, with labels where somebody gave them.

A manifest is a CSV file with a header line and a `path` column, paths relative to the file's folder (or to `root`), or
simply a folder with videos in it, where sub-folders name the classes.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

VIDEO_SUFFIXES = frozenset(
    [
        ".mp4",
        ".mov",
        ".m4v",
        ".avi",
        ".mkv",
        ".webm",
        ".3gp",
        ".flv",
        ".mpg",
        ".mpeg",
        ".ts",
        ".m2ts",
        ".mts",
        ".wmv",
        ".ogv",
        ".gif",
    ]
)


@dataclass(frozen=True)
class Manifest:
    """Video files, each with a label number (-1 where there is none)."""

    source: Path
    paths: list[str]
    labels: list[int]
    label_names: list[str]

    def __len__(self) -> int:
        return len(self.paths)


def read_manifest(
    source: Path,
    root: Path | None = None,
    split: str | None = None,
    label_column: str = "label",
) -> Manifest:
    """Read a CSV manifest or list a folder.

    Args:
        source: CSV file with a header, or a folder.
        root: folder that the paths in a CSV are relative to; the CSV's own folder if None.
        split: keep only rows whose `split` column has this value.
        label_column: column with the class names; labels are -1 where it is missing.

    Raises:
        ValueError: there is no such file, it has no `path` column, or it lists no video.
    """
    source = Path(source)
    if source.is_dir():
        rows = [(str(path), _class_of(path, source)) for path in _videos_below(source)]
        empty = f"the folder {source} holds no video file; known endings are {' '.join(sorted(VIDEO_SUFFIXES))}"
    elif source.is_file():
        rows = _read_csv(source, root or source.parent, split, label_column)
        of_split = f" of split '{split}'" if split else ""
        empty = f"the manifest {source} lists no video{of_split}"
    else:
        raise ValueError(
            f"there is no manifest or folder {source}; give a CSV file with a 'path' column or a folder of videos "
            f"(`vjepa make-data` makes a small dataset)"
        )
    if not rows:
        raise ValueError(empty)
    names = sorted({label for _, label in rows if label is not None})
    number = {name: i for i, name in enumerate(names)}
    return Manifest(
        source=source,
        paths=[path for path, _ in rows],
        labels=[-1 if label is None else number[label] for _, label in rows],
        label_names=names,
    )


def _videos_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())


def _class_of(path: Path, folder: Path) -> str | None:
    parents = path.relative_to(folder).parent.parts
    return parents[0] if parents else None


def _read_csv(source: Path, root: Path, split: str | None, label_column: str) -> list[tuple[str, str | None]]:
    try:
        with source.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            columns = table.fieldnames or []
            needed = ["path"] + (["split"] if split else [])
            missing = [name for name in needed if name not in columns]
            if missing:
                raise ValueError(
                    f"the manifest {source} has no column {', '.join(map(repr, missing))} in its header line "
                    f"(found: {', '.join(columns) or 'nothing'})"
                )
            rows = [row for row in table if split is None or row["split"] == split]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"the manifest {source} is not a CSV text file: {error}") from None
    return [(str(root / row["path"]), row.get(label_column) or None) for row in rows]
