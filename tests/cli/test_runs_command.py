"""`vjepa runs`: one table of the runs of a sweep."""

import csv
from pathlib import Path

import pytest

from vjepa.cli.main import main
from vjepa.cli.runs_command import differences


def test_keys_in_which_not_all_are_equal_are_shown():
    settings = [
        {"name": "a", "model": {"class_path": "JEPA", "init_args": {"eps": 1, "terms": {"x": 2}}}, "seed": 0},
        {"name": "b", "model": {"class_path": "JEPA", "init_args": {"eps": 3, "terms": {"x": 2}}}, "seed": 0},
        {"name": "c", "model": {"class_path": "JEPA", "init_args": {"eps": 1, "terms": None}}, "seed": 0},
    ]
    assert differences(settings) == [
        {"model.eps": 1, "model.terms.x": 2},
        {"model.eps": 3, "model.terms.x": 2},
        {"model.eps": 1, "model.terms": None},
    ]


@pytest.mark.slow
def test_a_sweep_is_one_table(tiny_recipe: Path, tmp_path: Path, capsys):
    for rate in ("1e-3", "2e-3"):
        flags = [f"--model.learning_rate.peak={rate}", "--trainer.max_steps=2", "--data.val_manifest=null"]
        main(["fit", "-c", str(tiny_recipe), "--name=sweep", *flags])
    probe = tmp_path / "runs" / "sweep" / "version_1" / "probe"
    probe.mkdir()
    (probe / "results.csv").write_text(
        "task,features,labels,probe,seed,top1,low,high,chance\nclasses,pretrained,all,kNN,0,0.5,0.4,0.6,0.25\n"
    )
    capsys.readouterr()
    main(["runs", str(tmp_path / "runs"), "-o", str(tmp_path / "runs.csv")])
    assert "2 runs below" in capsys.readouterr().out
    with (tmp_path / "runs.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert first["run"] == "sweep/version_0" and first["step"] == "2 of 2" and float(first["loss"]) > 0
    assert first["differs in"] == "model.learning_rate.peak=0.001"
    assert second["results"] == "probe: kNN 50.0 [40.0, 60.0]"


def test_a_folder_without_runs_is_one_sentence(tmp_path: Path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["runs", str(tmp_path)])
    assert ended.value.code == 2 and "there is no run below" in capsys.readouterr().err
