"""Files that could not be read: named once in the log, listed in quarantine.csv, and too many of them stop the run."""

import csv
import logging
from pathlib import Path

log = logging.getLogger(__name__)


class Quarantine:
    """Keeps `quarantine.csv` (path, reason) in the run's folder.

    Raises ValueError from `add` once more than `max_bad_share` of `num_files` are listed.
    """

    def __init__(self, file: Path, num_files: int, max_bad_share: float):
        self.file = file
        self.num_files = num_files
        self.max_bad_share = max_bad_share
        self.paths = self._listed()

    def add(self, failures: list[tuple[str, str]]) -> None:
        for path, reason in failures:
            if path in self.paths:
                continue
            self.paths.add(path)
            log.warning(f"replaced unreadable file {path}: {reason} (listed in {self.file})")
            self._append(path, reason)
        if len(self.paths) > self.max_bad_share * self.num_files:
            raise ValueError(
                f"{len(self.paths)} of {self.num_files} files could not be read, more than max_bad_share "
                f"({self.max_bad_share:.0%}); see {self.file}, mend or remove them, or raise the share"
            )

    def _listed(self) -> set[str]:
        if not self.file.exists():
            return set()
        with self.file.open(newline="", encoding="utf-8") as file:
            return {row["path"] for row in csv.DictReader(file)}

    def _append(self, path: str, reason: str) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self.file.exists()
        with self.file.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(("path", "reason"))
            writer.writerow((path, reason))
