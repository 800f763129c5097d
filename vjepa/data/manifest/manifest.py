"""A manifest: the list of video files to train on, with labels and times where they are known.

A manifest is one of

* a CSV or Parquet file with a header and a `path` column; label columns, `split`, `start` and `end` (seconds) and the
  columns that `vjepa manifest` adds are optional;
* a list without a header, `path label` or `path,label` or `path::label` in each line, as in the released V-JEPA code;
* a folder of videos or images, on disk or in an object store, where sub-folders name the classes;
* one video or image.

Times are seconds (`1.5`) or hours:minutes:seconds. An empty cell, or NaN, is not given. A cell that can't be read, and
an end that is not after its start, are refused with their line.

Rows are packed into arrays (at most some 100 bytes each beside the path): a list of millions costs a worker little, and
reference counts touch nothing in it, so forked workers share it.
"""

import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int32, Int64

from vjepa.data.manifest.cells import LIKE_A_TIME, read_count, read_number, read_rate, read_window
from vjepa.data.manifest.class_names import class_name, in_order, is_whole, without_markers
from vjepa.data.manifest.listings import VIDEO_SUFFIXES, folder_of, rows_of_file, rows_of_folder
from vjepa.data.paths import expanded
from vjepa.data.video import storage
from vjepa.data.video.facts import Orientation, Trait, VideoFacts
from vjepa.data.video.image_reader import IMAGE_SUFFIXES
from vjepa.data.video.storage import Version

ROOT_VARIABLE = "VJEPA_DATA"
# How the cells of a scanned file are read. The last two tell whether it is still the file that was scanned.
NUMBERS = {
    **{"frames": read_count, "fps": read_rate, "width": read_count, "height": read_count, "first_time": read_number},
    **{"keyframe_interval": read_count, "bytes": read_number, "modified": read_number},
}
NUMBER_COLUMNS = tuple(NUMBERS)[:6]
KIND_COLUMNS = ("container", "codec", "pixel_format", "orientation", "traits")
# The columns that a scan writes. `container` is empty where a file was not scanned or can't be read.
FACT_COLUMNS = (*NUMBER_COLUMNS, *KIND_COLUMNS)
ORIENTATION = "trc"  # transposed, rows from bottom to top, columns from right to left
LARGEST_LABEL = 10_000_000
Repeated = tuple[dict[str, int], "array[int]"]  # values numbered in order of appearance, and the numbers of rows


class PackedStrings:
    """An immutable list of strings in two arrays. File names need not be valid text."""

    def __init__(self, strings: Iterable[str]):
        encoded, ends = bytearray(), array("q", [0])
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
        return map(self.__getitem__, range(len(self)))

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Iterable) else NotImplemented


@dataclass(frozen=True)
class LabelColumn:
    """The classes in one column of a manifest."""

    numbers: Int64[np.ndarray, " rows"]  # -1 where a row has no class
    names: list[str]  # by number, over all splits of the manifest

    def name(self, row: int) -> str:
        """A row's class, "" where it has none."""
        number = self.numbers[row]
        return self.names[number] if number >= 0 else ""

    def counts(self) -> dict[str, int]:
        """The number of rows of each class that has some."""
        numbers, counts = np.unique(self.numbers[self.numbers >= 0], return_counts=True)
        return {self.names[number]: int(count) for number, count in zip(numbers, counts, strict=True)}


@dataclass(frozen=True)
class Manifest:
    """Video files with their classes."""

    source: Path | str
    paths: PackedStrings
    columns: dict[str, LabelColumn]  # by name; the first holds the classes, see `labels`
    splits: Int32[np.ndarray, " rows"]
    split_names: list[str]  # by number; "" where the manifest has none
    windows: Float64[np.ndarray, "rows 2"] | None  # start and end in seconds, NaN where not given; None without any
    facts_table: "FactsTable | None"  # None where the files were not scanned

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def labels(self) -> Int64[np.ndarray, " rows"]:
        return next(iter(self.columns.values())).numbers

    @property
    def label_names(self) -> list[str]:
        return next(iter(self.columns.values())).names

    def label_name(self, row: int) -> str:
        return next(iter(self.columns.values())).name(row)

    def split(self, row: int) -> str:
        return self.split_names[int(self.splits[row])]

    def window(self, row: int) -> tuple[float | None, float | None]:
        """The part of the file that a row stands for: start and end in seconds, None for the file's own."""
        if self.windows is None:
            return None, None
        start, end = (None if np.isnan(time) else float(time) for time in self.windows[row])
        return start, end

    def facts(self, row: int) -> VideoFacts | None:
        """The result of an earlier scan of a row's file; None where it must be scanned again."""
        return self.facts_table.row(row) if self.facts_table is not None else None

    def is_as_scanned(self, row: int, version: Version) -> bool:
        """Whether a file is, as it is now, the one that the facts were found in."""
        return self.facts_table is None or self.facts_table.is_of(row, version)

    def select(self, rows: Int64[np.ndarray, " n"]) -> "Manifest":
        """Only these rows, in this order; classes keep their numbers."""
        return replace(
            self,
            paths=PackedStrings(self.paths[row] for row in rows.tolist()),
            columns={name: LabelColumn(each.numbers[rows], each.names) for name, each in self.columns.items()},
            splits=self.splits[rows],
            windows=None if self.windows is None else self.windows[rows],
            facts_table=None if self.facts_table is None else self.facts_table.select(rows),
        )

    def numbered_as(self, label_names: list[str]) -> "Manifest":
        """With the class numbers of another list of names. Raises ValueError for a class that the list lacks."""
        number = {name: i for i, name in enumerate(label_names)}
        column, classes = next(iter(self.columns.items()))
        unknown = [name for name in classes.counts() if name not in number]
        if unknown:
            raise ValueError(f"the classes {', '.join(unknown[:5])} of {self.source} are not among the known ones")
        new_number = np.array([number.get(name, -1) for name in classes.names] + [-1], np.int64)  # -1 stays -1
        return replace(self, columns=self.columns | {column: LabelColumn(new_number[classes.numbers], label_names)})


def read_manifest(
    source: Path | str,
    root: Path | str | None = None,
    split: str | None = None,
    label_columns: Sequence[str] = ("label",),
) -> Manifest:
    """Read a manifest (see above).

    Paths in it are below `root`; without one, below the manifest's own folder or, where the first file does not exist
    there, below the folder in the environment variable VJEPA_DATA.

    Args:
        source: file or folder, local or with `://`; `~` and `$NAME` are filled in, as in all paths.
        root: folder that the paths are relative to.
        split: keep only rows whose `split` column has this value.
        label_columns: columns with classes; labels are -1 in a column that is missing.

    Raises:
        ValueError: there is no such file, it is not a manifest, a cell can't be read, or it lists no video.
    """
    name = expanded(str(source))
    rows = _rows_of(name)
    # Little is done per row and column: lists have millions of rows.
    paths: list[str] = []
    labels: dict[str, Repeated] = {column: ({}, array("q")) for column in label_columns}
    split_of: dict[str, int] = {}
    kind_of: dict[tuple[str, ...], int] = {}
    splits, kinds, windows = array("q"), array("q"), array("d")
    numbers = {column: array("d") for column in NUMBERS}
    for where, row in rows:
        if split is not None and "split" not in row:
            raise ValueError(f"the manifest {name} has no column 'split' in its header line (found: {', '.join(row)})")
        is_selected = split is None or class_name(str(row["split"])) == class_name(split)
        for column, (number_of, label_rows) in labels.items():
            cell = row.get(column)
            if isinstance(cell, (list, dict)):
                raise ValueError(f"{where}, {column}: a cell must name one class, not be {str(cell)[:80]}")
            # Classes of other splits are numbered too: the numbers of two splits must agree.
            number = number_of.setdefault("" if cell is None else str(cell), len(number_of))
            if is_selected:
                label_rows.append(number)
        if not is_selected:
            continue
        paths.append(expanded(str(row["path"])))
        splits.append(split_of.setdefault(str(row.get("split") or ""), len(split_of)))
        is_scanned = bool(row.get("container") and row.get("frames"))
        column = ""
        try:
            windows.extend(read_window(_text(row.get("start")), _text(row.get("end"))))
            for column, read in NUMBERS.items():
                numbers[column].append(read(_text(row.get(column))) if is_scanned else np.nan)
            column = "traits and orientation"
            kinds.append(_number_of_kind(row, kind_of) if is_scanned else -1)
        except ValueError as error:
            raise ValueError(f"{where}{column and f', {column}'}: {error}") from None
    folder = folder_of(name)
    if not paths:
        if folder is None:
            raise ValueError(f"the manifest {name} lists no video" + (f" of split '{split}'" if split else ""))
        raise ValueError(
            f"the folder {name} holds no video file; known endings are {' '.join(sorted(VIDEO_SUFFIXES))}, and "
            f"{' '.join(sorted(IMAGE_SUFFIXES))} for images"
        )
    unread = [column for column in row if column not in ("start", "end") and LIKE_A_TIME.search(str(column).lower())]
    if unread and "start" not in row and "end" not in row:
        storage.warn_once(f"{name}: {', '.join(unread)} are not read; parts of files are `start` and `end`, in seconds")
    if folder is not None:
        base = ""  # paths are complete
    else:
        base = expanded(str(root)) if root is not None else root_of(storage.parent(name), paths[0])
    facts = np.array(list(numbers.values())).T  # (rows, columns)
    kind_numbers = np.array(kinds, np.int32)
    kind_numbers[np.isnan(facts[:, : len(NUMBER_COLUMNS)]).any(axis=1)] = -1  # not all are there: scan the file again
    parts = np.array(windows).reshape(-1, 2)
    written = storage.version_of(name).modified
    return Manifest(
        source=source,
        paths=PackedStrings(storage.join(base, path) for path in paths),
        columns={column: _label_column(*values) for column, values in labels.items()},
        splits=np.array(splits, np.int32),
        split_names=list(split_of),
        windows=None if np.isnan(parts).all() else parts,
        facts_table=FactsTable(facts, kind_numbers, list(kind_of), written) if (kind_numbers >= 0).any() else None,
    )


def _rows_of(name: str) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Where each row is, and its cells by column."""
    if not storage.exists(name) and not storage.is_folder(name):
        what = "file" if folder_of(name) else "manifest or folder"
        raise ValueError(
            f"there is no {what} {name}{storage.where_looked_for(name)}; give a CSV file with a 'path' column or a "
            f"folder of videos (`vjepa make-data` makes a small dataset)"
        )
    if folder_of(name) is None:
        return rows_of_file(name)
    return ((name, row) for row in rows_of_folder(name))


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell)


def _number_of_kind(row: Mapping[str, Any], kind_of: dict[tuple[str, ...], int]) -> int:
    kind = tuple([_text(row.get(column)) for column in KIND_COLUMNS])
    if kind not in kind_of:
        *_, orientation, traits = kind
        unknown = [*(set(traits.split()) - set(Trait)), *(set(orientation) - set(ORIENTATION))]
        if unknown:
            raise ValueError(f"'{unknown[0]}' is unknown; leave `container` empty to have the file scanned")
        kind_of[kind] = len(kind_of)
    return kind_of[kind]


@dataclass(frozen=True)
class FactsTable:
    """The results of scanning many files, in arrays."""

    numbers: Float64[np.ndarray, "rows 8"]
    kinds: Int32[np.ndarray, " rows"]  # into kind_values; -1 for a file without facts
    kind_values: list[tuple[str, ...]]
    written: float | None  # when the manifest was written, in seconds since 1970

    def select(self, rows: Int64[np.ndarray, " n"]) -> "FactsTable":
        return replace(self, numbers=self.numbers[rows], kinds=self.kinds[rows])

    def is_of(self, row: int, version: Version) -> bool:
        """Whether the facts are of this version of a file: by its size and time or, where a manifest has no times, by
        its being older than the manifest."""
        num_bytes, modified = self.numbers[row, len(NUMBER_COLUMNS) :].tolist()
        if version.num_bytes is not None and not np.isnan(num_bytes) and version.num_bytes != num_bytes:
            return False
        if version.modified is None:
            return True
        if np.isnan(modified):
            return self.written is None or version.modified <= self.written
        return bool(version.modified == modified)

    def row(self, row: int) -> VideoFacts | None:
        if self.kinds[row] < 0:
            return None
        container, codec, pixel_format, orientation, traits = self.kind_values[self.kinds[row]]
        found = frozenset(Trait(trait) for trait in traits.split())
        if Trait.VARIABLE_RATE in found:
            return None  # the times of its frames are not in the manifest
        frames, fps, width, height, first_time, keyframe_interval, *_ = self.numbers[row].tolist()
        shown = (int(frames), fps, int(width), int(height), first_time)
        turned = Orientation(*(letter in orientation for letter in ORIENTATION))
        return VideoFacts(*shown, container, codec, pixel_format, int(keyframe_interval), turned, found)


def fact_columns(facts: VideoFacts) -> dict[str, str]:
    """The cells of a scanned file; `read_manifest` reads them back."""
    numbers = (facts.num_frames, facts.fps, facts.width, facts.height, facts.first_time, facts.keyframe_interval)
    orientation = "".join(letter for letter, turned in zip(ORIENTATION, facts.orientation, strict=True) if turned)
    kinds = (facts.container, facts.codec, facts.pixel_format, orientation, " ".join(sorted(facts.traits)))
    return dict(zip(FACT_COLUMNS, (*map(repr, numbers), *kinds), strict=True))


def _label_column(number_of: dict[str, int], rows: "array[int]") -> LabelColumn:
    """Whole numbers stay themselves, so that two lists of one dataset agree; other names are numbered in order."""
    name_of_cell = without_markers([class_name(cell) for cell in number_of])
    known = in_order(set(name_of_cell) - {""})
    if known and all(map(is_whole, known)) and int(known[0]) >= 0 and int(known[-1]) <= LARGEST_LABEL:
        known = [str(number) for number in range(int(known[-1]) + 1)]
    number = {name: i for i, name in enumerate(known)}
    new_number = np.array([number.get(name, -1) for name in name_of_cell], np.int64)
    return LabelColumn(new_number[np.array(rows, np.int64)], known)


def root_of(folder: str, first_path: str) -> str:
    """Where a manifest's relative paths start: its own folder or, if the first is not there, $VJEPA_DATA."""
    root = expanded(os.environ.get(ROOT_VARIABLE, ""))
    if root and not storage.exists(storage.join(folder, first_path)):
        return root
    return folder
