"""From the annotation files that datasets come with to rows of a manifest, and the sentences for those of no use."""

import json
from pathlib import Path

import pytest

from vjepa.data.manifest.annotations import COLUMNS, annotation_rows


def written(folder: Path, content: object, name: str = "train.csv") -> str:
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(file)


def rows(source: str, /, records=None, columns=None, delimiter=",", **templates) -> list[dict[str, str]]:
    return list(annotation_rows(source, templates, records, columns, delimiter))


def filled(source: str, /, **options) -> list[dict[str, str]]:
    """The rows without what is empty in them."""
    return [{column: value for column, value in row.items() if value} for row in rows(source, **options)]


# --- templates


def test_a_template_puts_columns_together_and_formats_their_numbers(tmp_path):
    source = written(tmp_path, "label,id,from,to\nair drumming,a-1,7,17\nrun,b,120,130.0\n")
    assert [row["path"] for row in rows(source, path="{label}/{id}_{from:06d}_{to:06d}.mp4")] == [
        "air drumming/a-1_000007_000017.mp4",
        "run/b_000120_000130.mp4",
    ]


@pytest.mark.parametrize(
    "template, expected",
    [("{n:03d}", "007"), ("{n:.2f}", "7.00"), ("{n}", "7"), ("{n:>4}", "   7"), ("{n:06.1f}", "0007.0")],
)
def test_numbers_take_formats_whether_they_come_as_text_or_as_numbers(tmp_path, template, expected):
    assert rows(written(tmp_path, "n\n7\n"), path=template)[0]["path"] == expected
    assert rows(written(tmp_path, [{"n": 7}], "n.json"), path=template)[0]["path"] == expected


def test_a_text_without_braces_is_a_column_or_else_itself(tmp_path):
    source = written(tmp_path, "id,verb\na.mp4,3\n")
    assert filled(source, path="id", label="verb", split="train") == [{"path": "a.mp4", "label": "3", "split": "train"}]


def test_columns_of_the_right_name_need_no_template_and_a_template_wins_over_them(tmp_path):
    source = written(tmp_path, "path,label,split,start,end,other\na.mp4,run,val,1,2.5,x\n")
    row = {"path": "a.mp4", "label": "run", "split": "val", "start": "1.0", "end": "2.5"}
    assert rows(source) == [row] and tuple(row) == COLUMNS
    assert rows(source, label="{other}", split="test")[0] | {"end": "2.5"} == row | {"label": "x", "split": "test"}


def test_every_row_has_every_column_and_what_nobody_gives_is_empty(tmp_path):
    assert rows(written(tmp_path, "a.mp4\nb.mp4\n", "list.txt")) == [
        {"path": name, "label": "", "split": "", "start": "", "end": ""} for name in ("a.mp4", "b.mp4")
    ]


def test_a_path_gives_folder_stem_and_name_and_the_file_gives_list(tmp_path):
    source = written(tmp_path, "deep/ApplyLipstick/v_g01.avi 2\n", "testlist01.txt")
    row = rows(source, label="{folder}", split="{list}", path="{folder}/{stem}.mp4")[0]
    assert (row["label"], row["split"], row["path"]) == ("ApplyLipstick", "testlist01", "ApplyLipstick/v_g01.mp4")
    assert rows(source, label="{name}")[0]["label"] == "v_g01.avi"


def test_a_test_list_without_labels_takes_them_from_the_folder_as_the_train_list_does(tmp_path):
    train = written(tmp_path, "Run/a.avi 1\nSwim/b.avi 2\n", "trainlist01.txt")
    test = written(tmp_path, "Run/c.avi\nSwim/d.avi\n", "testlist01.txt")
    assert [[row["label"] for row in rows(file, label="{folder}")] for file in (train, test)] == [["Run", "Swim"]] * 2
    assert [row["label"] for row in rows(train)] == ["1", "2"]


# --- JSON files


def test_a_json_list_of_records_is_read_in_order(tmp_path):
    source = written(tmp_path, [{"id": "9", "template": "Holding [x]"}, {"id": "4", "template": "Xs {y}"}], "t.json")
    assert filled(source, path="{id}.webm", label="template") == [
        {"path": "9.webm", "label": "Holding [x]"},
        {"path": "4.webm", "label": "Xs {y}"},  # braces in a value are no template
    ]


def test_a_json_object_of_records_has_its_keys_in_the_column_key(tmp_path):
    source = written(tmp_path, {"a": {"class": "run", "n": 0}, "b": {"class": "swim", "n": 1}}, "t.json")
    assert filled(source, path="{key}.mp4", label="n") == [
        {"path": "a.mp4", "label": "0"},
        {"path": "b.mp4", "label": "1"},
    ]


def test_a_json_object_of_plain_values_has_them_in_the_column_value(tmp_path):
    source = written(tmp_path, {"a.mp4": "run", "b.mp4": "swim"}, "t.json")
    assert [row["label"] for row in rows(source, path="key", label="value")] == ["run", "swim"]


def test_a_json_list_of_names_is_a_list_of_paths(tmp_path):
    assert filled(written(tmp_path, ["a.mp4", "b.mp4"], "t.json")) == [{"path": "a.mp4"}, {"path": "b.mp4"}]


def test_records_may_lie_under_a_key_and_hold_more_than_is_asked_for(tmp_path):
    database = {"Lt": {"class": "Drive", "start": 56.5, "end": 85.25, "annotation": [{"id": 1}], "subset": None}}
    source = written(tmp_path, {"version": 1, "database": database}, "COIN.json")
    assert filled(source, records="database", path="{key}.mp4", label="class") == [
        {"path": "Lt.mp4", "label": "Drive", "start": "56.5", "end": "85.25"}
    ]


# --- tables


@pytest.mark.parametrize("delimiter", [",", ";", "\t", " "])
def test_a_table_without_a_header_is_read_by_names_and_delimiter(tmp_path, delimiter):
    source = written(tmp_path, f"1{delimiter}Swipe\n2{delimiter}Tap\n")
    assert filled(source, columns=["id", "label"], delimiter=delimiter, path="{id:03d}") == [
        {"path": "001", "label": "Swipe"},
        {"path": "002", "label": "Tap"},
    ]


def test_a_table_with_a_header_but_no_path_is_read_by_the_delimiter(tmp_path):
    assert rows(written(tmp_path, "id;label\na;run\n"), delimiter=";", path="{id}.mp4")[0]["path"] == "a.mp4"


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_quotes_byte_order_mark_and_line_ends_make_no_difference(tmp_path, mark, end):
    source = tmp_path / "t.csv"
    source.write_bytes(f'{mark}id,label{end}"a, b","say ""hi"""{end}'.encode())
    assert filled(str(source), path="{id}.mp4") == [{"path": "a, b.mp4", "label": 'say "hi"'}]


def test_missing_cells_are_empty_and_more_cells_than_columns_are_refused(tmp_path):
    source = written(tmp_path, "id,label\na,run,, \nb\n".replace(" ", ""))
    assert filled(source, path="{id}") == [{"path": "a", "label": "run"}, {"path": "b"}]
    assert filled(source, path="{id}", split="label") == [{"path": "a", "label": "run", "split": "run"}, {"path": "b"}]
    source = written(tmp_path, "a.avi 1\na dog.avi 2\n", "list.txt")  # else a class `dog.avi`
    with pytest.raises(ValueError, match=r"line 2 of .*list\.txt has more cells than there are columns \(2\)"):
        rows(source, columns=["path", "label"], delimiter=" ")


def test_a_record_without_a_column_of_others_has_an_empty_cell(tmp_path):
    source = written(tmp_path, [{"id": 1, "verb": "run"}, {"id": 2}, {"id": 3, "verb": None}], "a.json")
    assert [row["label"] for row in rows(source, path="{id}", label="verb")] == ["run", "", ""]


def test_several_values_are_no_class(tmp_path):
    source = written(tmp_path, [{"path": "a.mp4", "tags": ["run", "swim"]}], "a.json")
    with pytest.raises(ValueError, match=r"'tags' of record 1 of .*a\.json is \['run', 'swim'\]; .* '{tags\[0\]}'"):
        rows(source, label="tags")
    assert rows(source, label="{tags[0]}")[0]["label"] == "run"


def test_times_that_no_template_reads_are_named(tmp_path, caplog):
    source = written(tmp_path, "id,t_start,t_end\na,1,2\n")
    rows(source, path="{id}_{t_start:03d}_{t_end:03d}.mp4")
    rows(source, path="{id}.mp4", start="t_start", end="t_end")
    assert not caplog.text
    rows(source, path="{id}.mp4")
    assert f"{source}: t_end, t_start are not read; give parts of files by --start and --end" in caplog.text


def test_a_folder_lists_its_videos_and_images_with_the_first_sub_folder_as_class(tmp_path):
    for name in ("run/a.mp4", "run/deep/b.webm", "swim/c.JPEG", "swim/notes.txt", "d.avi"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    expected = [("d.avi", ""), ("run/a.mp4", "run"), ("run/deep/b.webm", "run"), ("swim/c.JPEG", "swim")]
    for source in (str(tmp_path), f"{tmp_path}/"):
        assert sorted((row["path"], row["label"]) for row in rows(source)) == expected
    assert rows(str(tmp_path), path="train/{path}")[0]["path"].startswith("train/")


# --- times


@pytest.mark.parametrize(
    "time, seconds",
    [("12.5", 12.5), ("0", 0.0), ("2:03", 123.0), ("00:00:06.98", 6.98), ("01:02:03.45", 3723.45)],
)
def test_times_are_seconds_or_hours_minutes_seconds(tmp_path, time, seconds):
    source = written(tmp_path, f"id,time\na,{time}\n")
    assert float(rows(source, path="id", start="time")[0]["start"]) == pytest.approx(seconds)
    if seconds:
        assert float(rows(source, path="id", end="{time}")[0]["end"]) == pytest.approx(seconds)


# --- refusals


def refusal(source: str, **options) -> str:
    with pytest.raises(ValueError) as caught:
        rows(source, **options)
    return str(caught.value)


def test_a_template_for_a_column_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    source = written(tmp_path, "id,label\na,run\n")
    assert refusal(source, path="{youtube_id}.mp4") == (
        f"the template '{{youtube_id}}.mp4' needs 'youtube_id', which line 2 of {source} does not have "
        f"(columns: folder, stem, name, list, id, label)"
    )


def test_a_format_that_does_not_fit_is_refused_with_template_and_record(tmp_path):
    source = written(tmp_path, "id,n\na,7\nb,seven\n")
    assert refusal(source, path="{n:03d}").startswith(
        f"the template '{{n:03d}}' can't be filled from line 3 of {source}"
    )
    assert refusal(source, path="{n").startswith(f"the template '{{n' can't be filled from line 2 of {source}")


def test_records_without_a_path_are_refused_with_a_template_to_try(tmp_path):
    source = written(tmp_path, [{"id": "9", "label": "run"}], "t.json")
    assert refusal(source) == (
        f"record 1 of {source} has no path; give a template, e.g. --path='{{id}}.mp4' (columns: id, label)"
    )


def test_a_time_that_is_none_is_refused_with_the_ways_to_write_it(tmp_path):
    source = written(tmp_path, "id,from\na,soon\n")
    assert refusal(source, path="id", start="from") == (
        f"line 2 of {source}: start 'soon' is not a time; write seconds, such as 0.5, or hours:minutes:seconds "
        f"from the file's start, or leave the cell empty"
    )


def test_a_key_that_a_json_file_has_not_is_refused_with_those_it_has(tmp_path):
    source = written(tmp_path, {"data": [], "version": 1}, "t.json")
    assert refusal(source, records="database") == f"{source} has no 'database' (found: data, version)"
    assert refusal(written(tmp_path, [], "u.json"), records="x").endswith("u.json has no 'x' (found: a list)")


def test_a_broken_json_file_and_a_file_that_is_not_there_are_refused(tmp_path):
    assert "t.json is not a JSON file: " in refusal(written(tmp_path, "[1,", "t.json"))
    assert refusal(str(tmp_path / "no.csv")) == f"there is no file or folder {tmp_path / 'no.csv'}"
