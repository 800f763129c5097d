"""Rows of a manifest from the annotation files of a dataset, by templates such as `{youtube_id}.mp4`."""

import csv
import json
import math
import string
from collections.abc import Collection, Iterator, Mapping, Sequence
from io import StringIO
from pathlib import PurePath
from typing import Any

from vjepa.data.manifest.cells import LIKE_A_TIME, read_window
from vjepa.data.manifest.listings import NoPathColumnError, folder_of, rows_of_file, rows_of_folder
from vjepa.data.video import storage

COLUMNS = ("path", "label", "split", "start", "end")  # each can have a template


def annotation_rows(
    source: str,
    templates: Mapping[str, str],
    records: str | None = None,
    columns: Sequence[str] | None = None,
    delimiter: str = ",",
) -> Iterator[dict[str, str]]:
    """One row, with the columns path, label, split, start and end, for each record of an annotation file.

    Args:
        source: a folder, a list or table as `read_manifest` takes it, any other CSV, or a JSON file with a list of
            records or an object of them (whose keys are then the column `key`).
        templates: of each column of the manifest, from the record's columns, e.g. `{label}/{id}_{start:06d}.mp4`; the
            name of a column is that column, any other text is used as it is. Beside the record's own columns there are
            `folder`, `stem` and `name` of its path, and `list`, the stem of the file's name.
        records: key of the records in a JSON file.
        columns: names of the columns of a file without a header.
        delimiter: between columns, where `columns` are given or the header has no `path`.

    Raises:
        ValueError: the file can't be read, or a template names a missing column.
    """
    read = list(_records(source, records, columns, delimiter))
    all_columns = {column for _, record in read for column in record}
    _name_unread_times(source, all_columns, templates)
    for where, record in read:
        known = _with_names(record, source)
        row = {}
        for column in COLUMNS:
            template = templates.get(column, column if column in known else "")
            row[column] = _filled(template, known, all_columns, where)
        try:
            times = read_window(row["start"], row["end"])
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        row["start"], row["end"] = ("" if math.isnan(time) else str(time) for time in times)
        if not row["path"]:
            raise ValueError(
                f"{where} has no path; give a template, e.g. "
                f"--path='{{{next(iter(record), 'id')}}}.mp4' (columns: {', '.join(record)})"
            )
        yield row


def _records(
    source: str, records: str | None, columns: Sequence[str] | None, delimiter: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Where each record is, and its columns."""
    if not storage.exists(source) and not storage.is_folder(source):
        raise ValueError(f"there is no file or folder {source}")
    if folder_of(source) is not None:
        yield from ((source, {"path": row["inside"], "label": row["label"]}) for row in rows_of_folder(source))
        return
    if PurePath(source).suffix.lower() == ".json":
        yield from _json_records(source, records)
    elif columns:
        yield from _table(source, columns, delimiter)
    else:
        try:
            yield from rows_of_file(source)
        except NoPathColumnError:
            yield from _table(source, None, delimiter)


def _table(source: str, columns: Sequence[str] | None, delimiter: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    text = storage.read_text(source, "a text file")
    delimiter = delimiter.encode().decode("unicode_escape")  # for \t on a command line
    if len(delimiter) != 1:
        raise ValueError(f"delimiter ({delimiter!r}) must be one character")
    table = csv.DictReader(StringIO(text, newline=""), columns, delimiter=delimiter)
    try:
        table.fieldnames = [column.strip() for column in table.fieldnames or ()]
        for record in table:
            if any(record.get(None, ())):
                raise ValueError(
                    f"line {table.line_num} of {source} has more cells than there are columns "
                    f"({len(table.fieldnames)}); put a cell with a {delimiter!r} in it in quotes, or name all columns"
                )
            yield f"line {table.line_num} of {source}", record
    except csv.Error as error:
        raise ValueError(f"{source} is not a table: {error}") from None


def _json_records(source: str, records: str | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        content = json.loads(storage.read_bytes(source))
    except ValueError as error:
        raise ValueError(f"{source} is not a JSON file: {error}") from None
    if records is not None:
        if not isinstance(content, dict) or records not in content:
            found = ", ".join(content) if isinstance(content, dict) else "a list"
            raise ValueError(f"{source} has no '{records}' (found: {found})")
        content = content[records]
    if isinstance(content, dict):
        content = [
            {"key": key, **(value if isinstance(value, dict) else {"value": value})} for key, value in content.items()
        ]
    if not isinstance(content, list):
        raise ValueError(f"{source} holds {type(content).__name__}, neither a list of records nor an object of them")
    for number, record in enumerate(content, start=1):
        yield f"record {number} of {source}", record if isinstance(record, dict) else {"path": str(record)}


def _with_names(record: Mapping[str, Any], source: str) -> dict[str, Any]:
    path = PurePath(str(record.get("path") or ""))
    names = {"folder": path.parent.name, "stem": path.stem, "name": path.name, "list": PurePath(source).stem}
    return names | {column: value for column, value in record.items() if column is not None and value is not None}


def _name_unread_times(source: str, columns: Collection[str | None], templates: Mapping[str, str]) -> None:
    """Say once which columns look like times and stand in no template, where there are no other times."""
    if {"start", "end"} & {*columns, *templates}:
        return
    used = " ".join(templates.values())
    unread = [column for column in columns if column and LIKE_A_TIME.search(column.lower()) and column not in used]
    if unread:
        storage.warn_once(
            f"{source}: {', '.join(sorted(unread))} are not read; give parts of files by --start and --end"
        )


class _Filler(string.Formatter):
    """Fills a template; formats of numbers (`{start:06d}`) work on text, which is all that tables hold."""

    def format_field(self, value: Any, format_spec: str) -> str:
        if format_spec.endswith("d"):
            value = int(float(value))
        elif format_spec.endswith("f"):
            value = float(value)
        return format(value, format_spec)


def _filled(template: str, known: Mapping[str, Any], all_columns: Collection[str], where: str) -> str:
    if "{" not in template:  # a column that this record leaves empty is no text
        value = known.get(template, "" if template in all_columns else template)
        if isinstance(value, (list, dict)):
            raise ValueError(
                f"'{template}' of {where} is {str(value)[:80]}; choose one value of it by a template, such as "
                f"'{{{template}[{0 if isinstance(value, list) else next(iter(value), 'key')}]}}'"
            )
        return str(value)
    try:
        return _Filler().vformat(template, (), known)
    except (KeyError, IndexError, AttributeError) as error:
        raise ValueError(
            f"the template '{template}' needs {error}, which {where} does not have (columns: {', '.join(known)})"
        ) from None
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"the template '{template}' can't be filled from {where}: {error}") from None
