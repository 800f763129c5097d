"""`vjepa manifest`: lists videos with the facts of each file, so that training need not scan them."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from vjepa.data.atomic_file import new_file, write_table
from vjepa.data.manifest.annotations import COLUMNS, annotation_rows
from vjepa.data.manifest.file_check import FileReport, FileTask, check_file
from vjepa.data.manifest.killable_pool import Lost, map_killable
from vjepa.data.manifest.listings import folder_of
from vjepa.data.manifest.manifest import FACT_COLUMNS, ROOT_VARIABLE, Manifest, fact_columns, root_of
from vjepa.data.manifest.pair_layouts import PAIR_COLUMNS, PairLayout, pair_rows
from vjepa.data.optional import optional
from vjepa.data.paths import expanded
from vjepa.data.progress import report_progress
from vjepa.data.video import storage
from vjepa.data.video.reader import ReaderName
from vjepa.processors import count_processors

FOUND_COLUMNS = (*FACT_COLUMNS, "duration", "bytes", "modified", "reader")


def write_manifest(
    sources: list[str],
    output: Path,
    root: str | None = None,
    path: str | None = None,
    label: str | None = None,
    split: str | None = None,
    start: str | None = None,
    end: str | None = None,
    records: str | None = None,
    columns: list[str] | None = None,
    delimiter: str = ",",
    pairs: PairLayout | None = None,
    scan: bool = True,
    num_workers: int | None = None,
    time_limit: float = 60.0,
) -> None:
    """List videos in a manifest, with the frames, rate and size of each.

    A second list beside it has the unreadable files and the reasons.

    Args:
        sources: folders, lists or annotation files (CSV, Parquet, JSON).
        output: the manifest to write, .csv or .parquet.
        root: folder that paths are relative to, here and when the manifest is used; $VJEPA_DATA if None and set.
        path: template of a file's path, e.g. '{label}/{youtube_id}_{time_start:06d}_{time_end:06d}.mp4'.
        label: template of its class.
        split: template of its split; text without braces that is not the name of a column is used as it is.
        start: template of the clip's start in the file, in seconds or hours:minutes:seconds.
        end: template of its end.
        records: key of the records in a JSON file.
        columns: names of columns of a file without a header.
        delimiter: between columns of such a file.
        pairs: list the matched pairs in the folder of a benchmark instead: "intphys", "intphys2", "grasp", "inflevel".
        scan: scan each file; without it only paths are listed.
        num_workers: scanning processes; one per processor if None.
        time_limit: seconds for one file.
    """
    if output.is_dir():
        raise ValueError(f"{output} is a folder; the manifest is a file in it, such as {output / 'manifest.csv'}")
    if output.suffix not in (".csv", ".parquet"):
        raise ValueError(f"the manifest's name ({output}) must end in .csv or .parquet")
    root = root and expanded(root)
    templates = {"path": path, "label": label, "split": split, "start": start, "end": end}
    given = {column: template for column, template in templates.items() if template is not None}
    rows = []
    for source in map(expanded, sources):
        base = folder_of(source) or root
        listed = pair_rows(pairs, source) if pairs else annotation_rows(source, given, records, columns, delimiter)
        for row in listed:
            if base is None:
                base = root_of(storage.parent(source), row["path"])
            file = storage.join(base, expanded(row["path"]))
            start_of_path = root or (base if base == os.environ.get(ROOT_VARIABLE) else str(output.parent))
            rows.append(row | {"file": file, "path": _below(file, start_of_path)})
    if not rows:
        raise ValueError(f"{', '.join(sources)} list no video")
    output.parent.mkdir(parents=True, exist_ok=True)
    columns_in_use = [column for column in (*COLUMNS, *PAIR_COLUMNS) if any(row.get(column) for row in rows)]
    if not scan:
        _write(output, columns_in_use, rows)
        print(f"{output}: {len(rows)} rows, not scanned")
        return
    reports = scan_files([row["file"] for row in rows], num_workers, time_limit)
    good = [row | found_columns(report) for row, report in zip(rows, reports, strict=True) if report.facts]
    bad = [row | {"reason": report.reason} for row, report in zip(rows, reports, strict=True) if not report.facts]
    if not good:
        raise ValueError(
            f"none of the {len(rows)} files can be read, the first is {rows[0]['file']}: {reports[0].reason}; "
            f"is the root right?"
        )
    missing = [row["path"] for row in good if float(row.get("start") or 0) >= float(row["duration"])]
    if missing:
        print(f"{len(missing)} rows are parts after a file's end, the first of {missing[0]}: training leaves them out")
    _write(output, [*columns_in_use, *FOUND_COLUMNS], good)
    hours = sum(float(row["duration"]) for row in good) / 3600
    print(f"{output}: {len(good)} files, {hours:.1f} hours")
    if bad:
        unreadable = output.with_name(f"{output.stem}.unreadable.csv")
        write_table(unreadable, ["path", "reason"], bad)
        print(f"{unreadable}: {len(bad)} files that can't be read, left out of the manifest")


def scan_files(
    files: Sequence[str],
    num_workers: int | None,
    time_limit: float,
    readers: tuple[ReaderName, ...] = ("decord", "pyav"),
    decode: Literal["none", "ends", "all"] = "none",
) -> list[FileReport]:
    """Check each file once, in killable processes, with a progress bar. Reports are in the order of files."""
    tasks = [FileTask(file, readers, decode) for file in dict.fromkeys(files)]
    results = map_killable(check_file, tasks, count_processors() if num_workers is None else num_workers, time_limit)
    reports: dict[str, FileReport] = {}
    for number, result in report_progress(results, len(tasks), "files"):
        reports[tasks[number].path] = FileReport(reason=result.reason) if isinstance(result, Lost) else result
    return [reports[file] for file in files]


def listed_columns(listed: Manifest, row: int) -> dict[str, str]:
    """The columns of a row that do not come from a scan."""
    start, end = ("" if time is None else str(time) for time in listed.window(row))
    pairs = {column: each.name(row) for column, each in listed.columns.items() if column in PAIR_COLUMNS}
    return {"label": listed.label_name(row), "split": listed.split(row), "start": start, "end": end, **pairs}


def found_columns(report: FileReport) -> dict[str, str]:
    """The columns of a readable file that come from a scan."""
    assert report.facts is not None
    num_bytes, modified = ("" if each is None else repr(each) for each in report.version)
    return fact_columns(report.facts) | {
        "duration": f"{report.facts.duration:.3f}",
        "bytes": num_bytes,
        "modified": modified,
        "reader": report.reader,
    }


def _below(file: str, folder: str) -> str:
    """A file's path relative to the folder if it is below it, otherwise its absolute path."""
    if storage.is_remote(file):
        return file.removeprefix(folder.rstrip("/") + "/")
    whole, start = Path(file).absolute(), Path(folder).absolute()
    return str(whole.relative_to(start)) if whole.is_relative_to(start) else str(whole)


def _write(output: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    if output.suffix == ".csv":
        write_table(output, columns, rows)
        return
    arrow, parquet = (optional(each, f"writing {output}", "parquet") for each in ("pyarrow", "pyarrow.parquet"))
    with new_file(output) as temporary:
        parquet.write_table(
            arrow.table({column: [str(row.get(column, "")) for row in rows] for column in columns}), temporary
        )
