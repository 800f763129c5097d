"""What there is to train on: a list of video files, with labels and times where somebody gave them.

A manifest is one of

* a CSV or Parquet file with a header and a `path` column; `label`, `split`, `start` and `end` (seconds) and what
  `vjepa manifest` found out of each file are optional;
* a list without a header, `path label` or `path,label` or `path::label` in each line, as the released V-JEPA code
  takes it;
* a folder with videos or images in it, on a disk or in an object store, where sub-folders name the classes.

Rows are kept packed (some 50 bytes each beside the path): a list of millions costs a training worker little, and
nothing in it is touched by reference counts, so that forked workers share it.
"""

import os
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vjepa.data.manifest.listings import VIDEO_SUFFIXES, is_whole, rows_of_file, rows_of_folder
from vjepa.data.video import storage
from vjepa.data.video.facts import Orientation, Trait, VideoFacts
from vjepa.data.video.image_reader import IMAGE_SUFFIXES

ROOT_VARIABLE = "VJEPA_DATA"
# What a scan writes of each file; `container` empty where nobody looked, or where the file can't be read.
FACT_COLUMNS = (
    "frames",
    "fps",
    "width",
    "height",
    "first_time",
    "keyframe_interval",
    "container",
    "codec",
    "pixel_format",
    "orientation",
    "traits",
)
_NUMBERS, _KINDS = FACT_COLUMNS[:6], FACT_COLUMNS[6:]
LARGEST_LABEL = 10_000_000


class PackedStrings:
    """An unchangeable list of strings in two blocks of memory."""

    def __init__(self, strings: Iterable[str]):
        encoded = bytearray()
        ends = array("q", [0])
        for string in strings:
            encoded += string.encode("utf-8", "surrogateescape")
            ends.append(len(encoded))
        self._bytes = np.frombuffer(bytes(encoded), np.uint8)
        self._ends = np.array(ends, np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        index = range(len(self))[index]  # negative indices and IndexError as in a list
        return self._bytes[self._ends[index] : self._ends[index + 1]].tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Iterable) else NotImplemented


@dataclass(frozen=True)
class Manifest:
    """Video files, each with a label number (-1 where there is none)."""

    source: Path | str
    paths: PackedStrings
    labels: np.ndarray  # (rows,) int64
    label_names: list[str]  # by number, of all the manifest's splits
    splits: np.ndarray  # (rows,) int32
    split_names: list[str]  # by number; "" where the manifest has none
    windows: np.ndarray | None  # (rows, 2) float64: start and end in seconds, NaN where not given; None without any
    facts_table: "FactsTable | None"  # None where the files were not scanned

    def __len__(self) -> int:
        return len(self.paths)

    def split(self, row: int) -> str:
        return self.split_names[self.splits[row]]

    def label_name(self, row: int) -> str:
        """A row's class, "" where it has none."""
        label = self.labels[row]
        return self.label_names[label] if label >= 0 else ""

    def window(self, row: int) -> tuple[float | None, float | None]:
        """The part of the file that a row means: start and end in seconds, None for the file's own."""
        if self.windows is None:
            return None, None
        start, end = (None if np.isnan(time) else float(time) for time in self.windows[row])
        return start, end

    def facts(self, row: int) -> VideoFacts | None:
        """What a scan found out of a row's file; None where it must be looked at again."""
        return self.facts_table.row(row) if self.facts_table is not None else None

    def select(
        self,
        rows: np.ndarray,  # (n,) int64
    ) -> "Manifest":
        """Only these rows, in this order; classes keep their numbers."""
        return replace(
            self,
            paths=PackedStrings(self.paths[row] for row in rows.tolist()),
            labels=self.labels[rows],
            splits=self.splits[rows],
            windows=None if self.windows is None else self.windows[rows],
            facts_table=None if self.facts_table is None else self.facts_table.select(rows),
        )

    def numbered_as(self, label_names: list[str]) -> "Manifest":
        """With the classes' numbers of another list of names. Raises ValueError for a class that it lacks."""
        number = {name: i for i, name in enumerate(label_names)}
        unknown = [name for name in self.label_names if name not in number]
        if unknown:
            raise ValueError(f"the classes {', '.join(unknown[:5])} of {self.source} are not among the known ones")
        new_number = np.array([number[name] for name in self.label_names] + [-1], np.int64)  # -1 stays -1
        return replace(self, labels=new_number[self.labels], label_names=label_names)


def read_manifest(
    source: Path | str,
    root: Path | str | None = None,
    split: str | None = None,
    label_column: str = "label",
) -> Manifest:
    """Read a manifest (see above).

    Paths in it are below `root`; without one, below the manifest's own folder or, where the first file is not there,
    below the folder that the environment variable VJEPA_DATA names.

    Args:
        source: file or folder, local or with `://`.
        root: folder that the paths are relative to.
        split: keep only rows whose `split` column has this value.
        label_column: column with the class names; labels are -1 where it is missing.

    Raises:
        ValueError: there is no such file, it is no manifest, or it lists no video.
    """
    name = str(source)
    if storage.is_folder(name):
        rows: Iterable[Mapping[str, Any]] = rows_of_folder(name)
        empty = (
            f"the folder {name} holds no video file; known endings are {' '.join(sorted(VIDEO_SUFFIXES))}, and "
            f"{' '.join(sorted(IMAGE_SUFFIXES))} for images"
        )
        folder, root = "", ""  # its paths are whole
    elif storage.exists(name):
        rows = rows_of_file(name)
        empty = f"the manifest {name} lists no video" + (f" of split '{split}'" if split else "")
        folder = storage.parent(name)
    else:
        raise ValueError(
            f"there is no manifest or folder {name}; give a CSV file with a 'path' column or a folder of videos "
            f"(`vjepa make-data` makes a small dataset)"
        )
    collected = _Rows(rows, label_column, split, name)
    if not collected.paths:
        raise ValueError(empty)
    root_name = str(root) if root is not None else root_of(folder, collected.paths[0])
    numbers, names = _numbered(collected.labels, collected.all_labels)
    return Manifest(
        source=source,
        paths=PackedStrings(storage.join(root_name, path) for path in collected.paths),
        labels=numbers,
        label_names=names,
        splits=np.array(collected.splits, np.int32),
        split_names=list(collected.split_numbers),
        windows=collected.windows(),
        facts_table=collected.facts(),
    )


class _Rows:
    """Columns of a manifest, gathered row by row without keeping the rows."""

    def __init__(self, rows: Iterable[Mapping[str, Any]], label_column: str, split: str | None, name: str):
        self.paths: list[str] = []
        self.labels: list[str] = []
        self.all_labels: set[str] = set()  # those of other splits too: their numbers must agree
        self.splits = array("q")
        self.split_numbers: dict[str, int] = {}
        self._starts, self._ends = array("d"), array("d")
        self._numbers = {column: array("d") for column in _NUMBERS}
        self._kind_of: dict[tuple[str, ...], int] = {}
        self._kinds = array("q")
        for row in rows:
            label = "" if row.get(label_column) in (None, "-1", -1) else str(row[label_column])
            self.all_labels.add(label)
            if split is not None and "split" not in row:
                raise ValueError(
                    f"the manifest {name} has no column 'split' in its header line (found: {', '.join(row)})"
                )
            if split is not None and str(row["split"]) != split:
                continue
            self.paths.append(str(row["path"]))
            self.labels.append(label)
            self.splits.append(self.split_numbers.setdefault(str(row.get("split") or ""), len(self.split_numbers)))
            self._starts.append(_number(row.get("start")))
            self._ends.append(_number(row.get("end")))
            if row.get("container") and row.get("frames"):
                kind = tuple(str(row.get(column) or "") for column in _KINDS)
                for column, values in self._numbers.items():
                    values.append(_number(row.get(column)))
            else:
                kind = ()
                for values in self._numbers.values():
                    values.append(np.nan)
            self._kinds.append(self._kind_of.setdefault(kind, len(self._kind_of)))

    def windows(self) -> np.ndarray | None:
        times = np.stack([np.array(self._starts), np.array(self._ends)], axis=1)
        return None if np.isnan(times).all() else times

    def facts(self) -> "FactsTable | None":
        if set(self._kind_of) <= {()}:
            return None
        numbers = np.stack([np.array(values) for values in self._numbers.values()], axis=1)
        return FactsTable(numbers, np.array(self._kinds, np.int32), list(self._kind_of))


class FactsTable:
    """What scans found out of many files, in arrays. Built by `read_manifest`."""

    def __init__(self, numbers: np.ndarray, kinds: np.ndarray, kind_values: list[tuple[str, ...]]):
        self._numbers = numbers  # (rows, 6) float64
        self._kinds = kinds  # (rows,) int32, into kind_values
        self._kind_values = kind_values

    def select(self, rows: np.ndarray) -> "FactsTable":
        return FactsTable(self._numbers[rows], self._kinds[rows], self._kind_values)

    def row(self, row: int) -> VideoFacts | None:
        kind = self._kind_values[self._kinds[row]]
        if not kind:
            return None
        container, codec, pixel_format, orientation, traits = kind
        found = frozenset(Trait(trait) for trait in traits.split())
        if Trait.VARIABLE_RATE in found:
            return None  # its frames' times are not in the manifest
        frames, fps, width, height, first_time, keyframe_interval = self._numbers[row].tolist()
        return VideoFacts(
            num_frames=int(frames),
            fps=fps,
            width=int(width),
            height=int(height),
            first_time=first_time,
            container=container,
            codec=codec,
            pixel_format=pixel_format,
            keyframe_interval=int(keyframe_interval),
            orientation=Orientation(*("trc"[i] in orientation for i in range(3))),
            traits=found,
        )


def fact_columns(facts: VideoFacts) -> dict[str, str]:
    """What a manifest keeps of a scanned file; `read_manifest` reads it back."""
    return {
        "frames": str(facts.num_frames),
        "fps": repr(facts.fps),
        "width": str(facts.width),
        "height": str(facts.height),
        "first_time": repr(facts.first_time),
        "keyframe_interval": str(facts.keyframe_interval),
        "container": facts.container,
        "codec": facts.codec,
        "pixel_format": facts.pixel_format,
        # t: rows and columns exchanged, r: rows from bottom to top, c: columns from right to left
        "orientation": "".join(letter for letter, turned in zip("trc", facts.orientation, strict=True) if turned),
        "traits": " ".join(sorted(facts.traits)),
    }


def _number(value: Any) -> float:
    try:
        return float(value) if value not in (None, "") else np.nan
    except ValueError:
        return np.nan


def _numbered(labels: list[str], all_labels: set[str]) -> tuple[np.ndarray, list[str]]:
    """Label numbers and their names. Whole numbers stay themselves, so that two lists of one dataset agree."""
    known = all_labels - {""}
    if known and all(is_whole(label) and str(int(label)) == label for label in known):
        largest = max(map(int, known))
        if largest <= LARGEST_LABEL:
            return np.array([int(label) if label else -1 for label in labels], np.int64), [
                str(number) for number in range(largest + 1)
            ]
    names = sorted(known)
    number = {name: i for i, name in enumerate(names)}
    return np.array([number.get(label, -1) for label in labels], np.int64), names


def root_of(folder: str, first_path: str) -> str:
    """Where a manifest's relative paths start: its own folder or, where the first is not there, $VJEPA_DATA."""
    root = os.environ.get(ROOT_VARIABLE)
    if root and not storage.exists(storage.join(folder, first_path)):
        return root
    return folder
