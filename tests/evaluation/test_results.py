"""Results as tables and files: widths, columns, and files that are there whole or not at all."""

import json

import pytest

from vjepa.evaluation.results import print_table, print_unreadable, spread, write_results


def test_several_values_are_a_mean_and_a_sample_standard_deviation():
    assert spread([12.345]) == "12.3" and spread([12.345], 2) == "12.35"
    assert spread([1.0, 3.0]) == "2.0 ± 1.4" and spread([0.0, 0.0, 3.0], 2) == "1.00 ± 1.73"


def test_a_log_file_has_the_given_width_and_columns_of_numbers_are_on_the_right(capsys):
    print_table("title", ["row", "number"], [["first", "1.0"], ["second", "10.0"]], width=40)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 40
    assert [line for line in lines if "first" in line] == ["│ first  │    1.0 │"]


def test_unreadable_files_are_counted_and_the_first_is_named(capsys):
    print_unreadable({})
    assert capsys.readouterr().out == ""
    print_unreadable({"a.mp4": "empty", "b.mp4": "no video"})
    assert "left out: 2, the first a.mp4 (empty)" in capsys.readouterr().out


def test_results_and_tables_are_written_whole(tmp_path):
    folder = tmp_path / "new" / "folder"
    rows = [{"name": "a", "top1": "0.5"}, {"name": "b, c", "top1": ""}]
    write_results(folder, {"step": 3}, [{"name": "a"}], {"results.csv": (("name", "top1"), rows)})
    assert (folder / "results.csv").read_text() == 'name,top1\na,0.5\n"b, c",\n'
    assert json.loads((folder / "results.json").read_text()) == {"step": 3, "results": [{"name": "a"}]}

    before = (folder / "results.json").read_text()
    with pytest.raises(TypeError):
        write_results(folder, {"step": object()}, [], {})
    assert (folder / "results.json").read_text() == before
    assert sorted(path.name for path in folder.iterdir()) == ["results.csv", "results.json"]
