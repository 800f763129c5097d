"""Unreadable files: logged once, listed in quarantine.csv, and too many of them stop the run."""

import csv
import logging
import os
from collections.abc import Iterable, Mapping
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from vjepa.data.video.storage import version_of, versions_of

log = logging.getLogger(__name__)


class Failure(NamedTuple):
    """A file that was replaced."""

    source: str  # name of the source that lists it
    path: str
    reason: str


class Quarantine:
    """Writes `quarantine.csv` (source, path, reason); all ranks append to one file.

    A file that was mended since an earlier start listed it counts as unlisted.

    Args:
        file: the list, created at the first failure.
        num_files: of each source, by name.
        max_bad_fraction: of a source's files; `add` raises ValueError beyond it.
    """

    COLUMNS = Failure._fields

    def __init__(self, file: Path, num_files: Mapping[str, int], max_bad_fraction: float):
        self.file = file
        self.num_files = num_files
        self.max_bad_fraction = max_bad_fraction
        self.replaced_clips = 0  # on this rank, in this process
        self._listed: dict[str, dict[str, str]] = {}  # reasons by path, by source
        self._read_bytes = 0
        self._catch_up()
        written = version_of(str(file)).modified or 0.0
        for reasons in self._listed.values():
            for (path, reason), now in zip([*reasons.items()], versions_of([*reasons]), strict=True):
                if now.modified is not None and (now.modified > written or reason == "no such file"):
                    del reasons[path]

    def __len__(self) -> int:
        """Files listed so far, also before a resume."""
        return sum(map(len, self._listed.values()))

    def add(self, failures: Iterable[Failure]) -> None:
        for failure in failures:
            self.replaced_clips += 1
            if not self._is_listed(failure):
                self._catch_up()  # another rank may have listed it
            if self._is_listed(failure):
                continue
            self._append(failure)
            self._catch_up()
            name = failure.path.encode(errors="backslashreplace").decode()
            log.warning(f"replaced unreadable file {name}: {failure.reason} (listed in {self.file})")
            self._check_share(failure.source)

    def _is_listed(self, failure: Failure) -> bool:
        return failure.path in self._listed.get(failure.source, ())

    def _check_share(self, source: str) -> None:
        bad, total = len(self._listed[source]), self.num_files[source]
        if bad > self.max_bad_fraction * total:
            raise ValueError(
                f"{bad} of {total} files of {source} could not be read, more than max_bad_fraction "
                f"({self.max_bad_fraction:.0%}); see {self.file}, mend or remove them (`vjepa doctor`), or raise it"
            )

    def _catch_up(self) -> None:
        """Read the new lines of all ranks."""
        if not self.file.exists():
            return
        with self.file.open("rb") as file:
            file.seek(self._read_bytes)
            new = file.read()
        new = new[: new.rfind(b"\n") + 1]  # whole lines: another rank may be writing one
        self._read_bytes += len(new)
        # File names need not be valid text. Two ranks that start the list at once may both write its header.
        for row in csv.reader(StringIO(new.decode("utf-8", "surrogateescape"), newline="")):
            if len(row) == len(self.COLUMNS) and tuple(row) != self.COLUMNS:
                self._listed.setdefault(row[0], {})[row[1]] = row[2]

    def _append(self, failure: Failure) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        lines = StringIO(newline="")
        with self.file.open("a+b") as file:
            is_new = not file.tell()
            if not is_new:
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":  # a kill cut the last line short
                    lines.write("\n")
            csv.writer(lines).writerows([self.COLUMNS, failure] if is_new else [failure])
            file.write(lines.getvalue().encode("utf-8", "surrogateescape"))  # one write: ranks share the file
            file.flush()
            os.fsync(file.fileno())
