"""Files that are broken or hang a decoder cost a run nothing but those files, and are named."""

import csv
import re
import threading

import pytest

from tests.integration.runs import checkpoint, logged, vjepa
from vjepa.cli.main import main
from vjepa.data.manifest.manifest import read_manifest
from vjepa.data.video.decord_reader import DecordReader
from vjepa.data.video.pyav_reader import PyAVReader


@pytest.fixture
def damaged_list(tiny_world, tmp_path):
    """Twenty files, two of them broken in two ways."""
    good = list(read_manifest(tiny_world / "train.csv").paths)[:18]
    content = (tiny_world / "videos" / "train" / "00000.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.mp4").write_text("no video")
    listing = tmp_path / "list.csv"
    paths = [*good[:9], tmp_path / "cut.mp4", *good[9:], tmp_path / "text.mp4"]
    listing.write_text("\n".join(["path", *map(str, paths)]) + "\n")
    return listing


@pytest.mark.slow
def test_a_run_with_a_tenth_of_broken_files_finishes_names_each_and_repeats_itself(tiny_recipe, damaged_list):
    runs = tiny_recipe.parent / "runs"
    arguments = ("fit", "-c", tiny_recipe, f"--data.train_manifest={damaged_list}", "--trainer.max_steps=10")
    said = {}
    for name, num_workers in (("a", 0), ("b", 2)):
        result = vjepa(*arguments, f"--name={name}", f"--data.num_workers={num_workers}")
        assert result.returncode == 0, result.stderr
        said[name] = result.stdout + result.stderr
    for name in ("a", "b"):
        with (runs / name / "version_0" / "quarantine.csv").open(newline="") as file:
            listed = {row["path"]: row["reason"] for row in csv.DictReader(file)}
        assert set(listed) == {str(damaged_list.parent / bad) for bad in ("cut.mp4", "text.mp4")}
        for path in listed:
            assert re.search(rf"replaced unreadable file {re.escape(path)}: \S", said[name])
        assert "unreadable   2 files, replaced by others" in said[name]
        # Two passes over twenty files: each broken one came up twice.
        assert logged(runs / name / "version_0", "data/replaced_clips")[-1] >= 4
        assert logged(runs / name / "version_0", "data/clips_list")[-1] == 40
    losses = [logged(runs / name / "version_0", "train/loss") for name in ("a", "b")]
    assert losses[0] == losses[1] and len(losses[0]) == 10
    ours, theirs = (checkpoint(runs / name / "version_0") for name in ("a", "b"))
    assert ours["ClipDataModule"] == theirs["ClipDataModule"]


@pytest.mark.slow
def test_more_broken_files_than_allowed_stop_the_run_with_the_list(tiny_recipe, damaged_list):
    run = vjepa("fit", "-c", tiny_recipe, f"--data.train_manifest={damaged_list}", "--data.max_bad_fraction=0.05")
    assert run.returncode == 2 and "Traceback" not in run.stderr
    assert "2 of 20 files of list could not be read, more than max_bad_fraction (5%); see" in run.stderr


def test_a_decoder_that_hangs_is_left_behind_and_the_next_one_reads(tiny_recipe, monkeypatch):
    def hang(*arguments) -> None:
        threading.Event().wait()

    monkeypatch.setattr(DecordReader, "decode", hang)
    main(["fit", "-c", str(tiny_recipe), "--name=a", "--trainer.max_steps=2", "--data.decode_time_limit=0.2"])
    run = tiny_recipe.parent / "runs" / "a" / "version_0"
    assert checkpoint(run)["global_step"] == 2
    assert not (run / "quarantine.csv").exists()  # every file was read, by another reader


def test_a_file_that_hangs_every_decoder_is_quarantined(tiny_recipe, monkeypatch, tiny_world):
    bad = read_manifest(tiny_world / "train.csv").paths[3]
    decode = PyAVReader.decode

    def hang(self, source, *rest):
        return threading.Event().wait() if source == bad else decode(self, source, *rest)

    monkeypatch.setattr(PyAVReader, "decode", hang)
    flags = ["--data.decode_time_limit=0.2", "--data.readers=[pyav]", "--trainer.max_steps=7"]
    main(["fit", "-c", str(tiny_recipe), "--name=a", *flags])
    listed = (tiny_recipe.parent / "runs" / "a" / "version_0" / "quarantine.csv").read_text().splitlines()
    assert len(listed) == 2 and bad in listed[1] and "it did not return within 0.2 s" in listed[1]
