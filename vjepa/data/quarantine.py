"""Files that could not be read: named once in the log, listed in quarantine.csv, and too many of them stop the run."""

import csv
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, NamedTuple

log = logging.getLogger(__name__)


class Failure(NamedTuple):
    """A file that was replaced."""

    source: str  # name of the source that lists it
    path: str
    reason: str


class Quarantine:
    """Keeps `quarantine.csv` (source, path, reason) in the run's folder; all ranks write to one file.

    Args:
        file: the list, made at the first failure.
        num_files: of each source, by its name.
        max_bad_share: of a source's files.

    Raises:
        ValueError: from `add`, once more than that share of a source is listed.
    """

    COLUMNS = Failure._fields

    def __init__(self, file: Path, num_files: Mapping[str, int], max_bad_share: float):
        self.file = file
        self.num_files = num_files
        self.max_bad_share = max_bad_share
        self.replaced_clips = 0  # since this object was made, on this rank
        self._listed = self._read()

    def __len__(self) -> int:
        """Files listed so far, those of a run that this one goes on with too."""
        return len(self._listed)

    def add(self, failures: Iterable[Failure]) -> None:
        for failure in failures:
            self.replaced_clips += 1
            key = (failure.source, failure.path)
            if key in self._listed or key in self._read():  # another rank may have listed it
                continue
            self._append(failure)
            self._listed = self._read() | {key}  # other ranks list their own
            name = failure.path.encode(errors="backslashreplace").decode()
            log.warning(f"replaced unreadable file {name}: {failure.reason} (listed in {self.file})")
            self._check_share(failure.source)

    def _check_share(self, source: str) -> None:
        bad = sum(listed == source for listed, _ in self._listed)
        of_all = self.num_files[source]
        if bad > self.max_bad_share * of_all:
            raise ValueError(
                f"{bad} of {of_all} files of {source} could not be read, more than max_bad_share "
                f"({self.max_bad_share:.0%}); see {self.file}, mend or remove them (`vjepa doctor`), or raise the share"
            )

    def _read(self) -> set[tuple[str, str]]:
        if not self.file.exists():
            return set()
        with self._opened("r") as file:
            # Two ranks that begin the list at once may both write its header.
            return {(source, path) for source, path, reason in csv.reader(file) if reason != self.COLUMNS[-1]}

    def _append(self, failure: Failure) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self._opened("a") as file:
            writer = csv.writer(file)
            if not file.tell():
                writer.writerow(self.COLUMNS)
            writer.writerow(failure)
            file.flush()
            os.fsync(file.fileno())

    def _opened(self, mode: str) -> IO[str]:
        return open(self.file, mode, newline="", encoding="utf-8", errors="surrogateescape")  # names need not be text
