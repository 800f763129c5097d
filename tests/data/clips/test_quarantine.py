"""Unreadable files are listed once, over restarts and ranks, and too many of one source stop the run."""

import csv
import logging
import os

import pytest

from vjepa.data.clips.quarantine import Failure, Quarantine

A, B, C = (Failure("train", f"{name}.mp4", "cut short") for name in "abc")


def quarantine(folder, num_files=None, max_bad_fraction=0.5) -> Quarantine:
    return Quarantine(folder / "run" / "quarantine.csv", num_files or {"train": 10}, max_bad_fraction)


def lines(folder) -> list[str]:
    return (folder / "run" / "quarantine.csv").read_text(encoding="utf-8").splitlines()


def test_quarantine_lists_each_file_once_and_survives_a_restart(tmp_path):
    for _ in range(2):
        quarantine(tmp_path).add([A, A, Failure("train", "b.mp4", "no such file")])
    assert lines(tmp_path) == ["source,path,reason", "train,a.mp4,cut short", "train,b.mp4,no such file"]


def test_there_is_no_list_before_the_first_failure(tmp_path):
    quarantine(tmp_path).add([])
    assert not (tmp_path / "run").exists()


def test_paths_and_reasons_keep_commas_quotes_and_letters(tmp_path):
    failure = Failure("train", 'größe, "x".mp4', "cut; short,\nreally")
    for _ in range(2):
        quarantine(tmp_path).add([failure])
    with (tmp_path / "run" / "quarantine.csv").open(newline="", encoding="utf-8") as file:
        assert [tuple(row.values()) for row in csv.DictReader(file)] == [failure]


def test_a_file_is_named_once_in_the_log_and_every_replaced_clip_is_counted(tmp_path, caplog):
    one = quarantine(tmp_path)
    with caplog.at_level(logging.WARNING):
        one.add([A, A])
        one.add([A, B])
    said = [record.message for record in caplog.records]
    assert len(said) == 2 and one.replaced_clips == 4
    assert said[0].startswith("replaced unreadable file a.mp4: cut short (listed in ")


def test_two_ranks_write_one_header_and_count_each_others_entries(tmp_path):
    first, second = quarantine(tmp_path, max_bad_fraction=0.2), quarantine(tmp_path, max_bad_fraction=0.2)
    first.add([A])
    second.add([B])
    assert lines(tmp_path) == ["source,path,reason", "train,a.mp4,cut short", "train,b.mp4,cut short"]
    with pytest.raises(ValueError, match="3 of 10 files of train could not be read"):
        first.add([C])


def test_a_file_that_was_mended_before_a_restart_is_not_counted(tmp_path):
    bad = [Failure("train", str(tmp_path / name), "cut short") for name in ("a.mp4", "b.mp4")]
    (tmp_path / "a.mp4").touch()
    (tmp_path / "b.mp4").touch()
    absent = Failure("train", str(tmp_path / "c.mp4"), "no such file")
    quarantine(tmp_path).add([*bad, absent])
    assert len(quarantine(tmp_path)) == 3
    later = (tmp_path / "run" / "quarantine.csv").stat().st_mtime + 1
    os.utime(tmp_path / "a.mp4", (later, later))
    (tmp_path / "c.mp4").touch()
    os.utime(tmp_path / "c.mp4", (later - 100, later - 100))  # it was moved here
    again = quarantine(tmp_path, max_bad_fraction=0.2)
    assert len(again) == 1
    again.add([bad[0]])  # it is bad all the same
    assert len(again) == 2
    with pytest.raises(ValueError, match="3 of 10 files of train"):
        again.add([A])


def test_too_many_bad_files_stop_the_run(tmp_path):
    one = quarantine(tmp_path, max_bad_fraction=0.15)
    one.add([A])
    sentence = (
        r"2 of 10 files of train could not be read, more than max_bad_fraction \(15%\); see .*quarantine.csv, "
        r"mend or remove them \(`vjepa doctor`\), or raise it"
    )
    with pytest.raises(ValueError, match=sentence):
        one.add([B])


def test_files_of_before_a_restart_count(tmp_path):
    quarantine(tmp_path, max_bad_fraction=0.15).add([A])
    with pytest.raises(ValueError, match="2 of 10 files"):
        quarantine(tmp_path, max_bad_fraction=0.15).add([B])


def test_as_many_bad_files_as_the_share_allows_do_not_stop_it(tmp_path):
    quarantine(tmp_path, max_bad_fraction=0.3).add([A, B, C])


def test_the_share_is_of_each_source(tmp_path):
    one = quarantine(tmp_path, {"big": 1000, "small": 4}, 0.3)
    one.add(Failure("big", f"{number}.mp4", "cut short") for number in range(200))
    one.add([Failure("small", "0.mp4", "cut short")])  # the same file in another source is another entry
    with pytest.raises(ValueError, match="2 of 4 files of small could not be read"):
        one.add([Failure("small", "1.mp4", "cut short")])


def test_a_list_left_empty_by_a_killed_run_gets_its_header(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "quarantine.csv").touch()  # killed, or overtaken by another rank, between making and writing
    quarantine(tmp_path).add([A, B])
    assert lines(tmp_path) == ["source,path,reason", "train,a.mp4,cut short", "train,b.mp4,cut short"]


def test_a_file_whose_name_is_no_text_is_listed_once_too(tmp_path):
    failure = Failure("train", "caf\udce9.mp4", "cut short")
    for _ in range(2):
        quarantine(tmp_path).add([failure])


def test_a_line_that_a_kill_cut_short_spoils_no_other(tmp_path):
    file = tmp_path / "quarantine.csv"
    Quarantine(file, {"films": 10}, 1.0).add([Failure("films", "a.mp4", "cut short")])
    with file.open("a") as opened:
        opened.write("films,b.m")
    quarantine = Quarantine(file, {"films": 10}, 1.0)
    quarantine.add([Failure("films", "b.mp4", "no such file")])
    assert len(quarantine) == len(Quarantine(file, {"films": 10}, 1.0)) == 2
