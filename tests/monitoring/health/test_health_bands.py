"""Bands of healthy runs: made from event files, kept in a small file, drawn and compared with."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from tests.cli.test_errors import slip
from tests.integration.runs import logged
from vjepa.cli.main import main
from vjepa.monitoring.health.health_bands import (
    NUM_POINTS,
    bands_of_runs,
    draw_over_bands,
    folders_of_runs,
    read_bands,
    write_bands,
)

LENGTH = 200  # steps of a run


def write_run(folder: Path, factor: float, steps: int = LENGTH, meant: int | None = None) -> Path:
    """Events of a run whose rank falls in a straight line, from 10 times the factor to 0, were it LENGTH steps long."""
    with SummaryWriter(str(folder)) as writer:
        for step in range(1, steps + 1, 5):
            writer.add_scalar("health/target_rank", factor * 10 * (1 - step / LENGTH), step)
            writer.add_scalar("health/verdict", 0, step)
            writer.add_scalar("schedule/momentum", 0.5, step)
        writer.add_scalar("train/loss", factor, steps)
    if meant is not None:
        (folder / "config.yaml").write_text(f"trainer:\n  max_steps: {meant}\n")
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [write_run(tmp_path / "runs" / f"version_{n}", factor, meant=LENGTH) for n, factor in enumerate((1, 2, 4))]


def test_bands_are_medians_and_percentiles_over_runs_and_readings_near_each_place(runs):
    bands = bands_of_runs(runs)
    assert bands.num_runs == 3
    assert set(bands.bands) == {"health/target_rank", "train/loss"}
    near = np.linspace(0.45, 0.55, 9)  # shares of the run whose readings a band is made of
    at_half = [factor * 10 * (1 - share) for factor in (1, 2, 4) for share in near]
    expected = [np.median(at_half), np.percentile(at_half, 10), np.percentile(at_half, 90)]
    assert bands.at("health/target_rank", 0.5) == pytest.approx(expected, rel=1e-5)
    assert math.isnan(bands.at("train/loss", 0.5)[0])  # it was logged at the end only
    assert bands.at("train/loss", 1.0)[0] == pytest.approx(2)


def test_what_readings_of_one_run_scatter_by_is_inside(tmp_path):
    with SummaryWriter(str(tmp_path / "run")) as writer:
        for step in range(LENGTH):
            writer.add_scalar("health/target_rank", 10 + step % 2, step)
    low, high = bands_of_runs([tmp_path / "run"]).at("health/target_rank", 0.5)[1:]
    assert low == pytest.approx(10, abs=0.3) and high == pytest.approx(11, abs=0.3)


def test_a_run_that_ended_early_counts_for_the_part_that_it_has(tmp_path, runs):
    early = write_run(tmp_path / "early", 1, steps=100, meant=LENGTH)
    bands = bands_of_runs([early])
    assert bands.at("health/target_rank", 0.25)[0] == pytest.approx(7.5, rel=1e-4)
    assert math.isnan(bands.at("health/target_rank", 0.75)[0])
    assert bands_of_runs([early, *runs]).at("health/target_rank", 0.75)[0] == pytest.approx(2 * 2.5, rel=1e-4)


def test_the_file_is_small_and_holds_the_bands(tmp_path, runs):
    bands, file = bands_of_runs(runs), tmp_path / "health" / "made.json"
    write_bands(bands, file)
    assert file.stat().st_size < 4000
    again = read_bands(file)
    assert again.num_runs == 3 and len(again.places) == NUM_POINTS
    for name, band in bands.bands.items():
        for ours, theirs in zip(again.bands[name], band, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3)


def test_what_lies_outside_is_named(runs):
    bands = bands_of_runs(runs)
    values = {"health/target_rank": 9.0, "train/loss": 1.5, "health/unknown": 3.0}
    assert bands.outside(values, 0.5) == ({}, 1)  # the loss has no band there
    assert bands.outside(values | {"health/target_rank": 25.0}, 0.5) == ({"health/target_rank": 25.0}, 1)
    assert bands.outside(values | {"health/target_rank": float("nan")}, 1.0)[1] == 2


def test_files_and_folders_that_are_none_are_refused(tmp_path, runs):
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"num_runs": 3}))
    with pytest.raises(ValueError, match=r"other.json holds no health bands \(.*'bands'.*\); write it with"):
        read_bands(other)
    with pytest.raises(ValueError, match=r"there are no TensorBoard events in .*; give folders of runs"):
        folders_of_runs([tmp_path / "nothing"])
    assert folders_of_runs([tmp_path / "runs", runs[0]]) == runs


def test_the_picture_shows_a_run_over_the_bands(tmp_path, runs):
    picture = tmp_path / "pictures" / "run.png"
    draw_over_bands(runs[0], bands_of_runs(runs), picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"none of health/odd has a band; there are health/target_rank, train/loss"):
        draw_over_bands(runs[0], bands_of_runs(runs), picture, ["health/odd"])


@pytest.mark.slow
def test_the_command_writes_bands_and_pictures_and_a_recipe_names_them(tmp_path, tiny_recipe, capsys):
    often = ("--trainer.max_steps=6", "--trainer.limit_val_batches=0", "--collapse_monitor.every_n_steps=1")
    main(["fit", "-c", str(tiny_recipe), "--name=a", *often])
    folder = tmp_path / "runs" / "a" / "version_0"
    file, pictures = tmp_path / "health" / "tiny.json", tmp_path / "pictures"
    main(["health-bands", str(folder.parent), "-o", str(file), "--pictures", str(pictures)])
    assert (pictures / "a_version_0.png").exists()
    assert "quantities over 1 runs" in capsys.readouterr().out
    main(["fit", "-c", str(tiny_recipe), "--name=b", *often, f"--collapse_monitor.bands={file}"])
    said = capsys.readouterr().out
    assert "  health       healthy, " in said and "quantities inside the bands of healthy runs" in said
    assert len(logged(tmp_path / "runs" / "b" / "version_0", "health/outside_bands")) == 6


def test_a_users_slips_are_one_sentence(tmp_path, capsys, tiny_recipe):
    assert "there is nothing to do; give `-o FILE.json`" in slip(capsys, "health-bands", tmp_path)
    assert "there are no TensorBoard events in" in slip(capsys, "health-bands", tmp_path, "-o", tmp_path / "a.json")
    bands = f"--collapse_monitor.bands={tmp_path / 'none.json'}"
    assert "there is no file of health bands" in slip(capsys, "fit", "-c", tiny_recipe, bands)
