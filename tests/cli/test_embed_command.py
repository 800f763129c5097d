"""`vjepa embed`, as a user runs it, on a run's checkpoint."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.cli.test_errors import slip
from vjepa.cli.main import main
from vjepa.evaluation.embedding.feature_file import read_features


@pytest.fixture
def run(tiny_recipe, tmp_path) -> Path:
    """The folder of a run of one step."""
    main(["fit", "-c", str(tiny_recipe), "--name=a", "--trainer.max_steps=1", "--trainer.limit_val_batches=0"])
    return tmp_path / "runs" / "a" / "version_0"


@pytest.fixture
def clips(tiny_world, tmp_path) -> Path:
    """Two clips of the small dataset and a file that is none."""
    folder = tmp_path / "clips"
    (folder / "inside").mkdir(parents=True)
    first, second = sorted(tiny_world.rglob("*.mp4"))[:2]
    shutil.copy(first, folder / "first.mp4")
    shutil.copy(second, folder / "inside" / "second.mp4")
    (folder / "text.mp4").write_text("no video")
    return folder


@pytest.mark.slow
def test_a_folder_is_embedded_with_the_newest_run(run, clips, tmp_path, capsys, monkeypatch):
    output = tmp_path / "features"
    quick = ("--num_workers=0", "--accelerator=cpu")
    main(["embed", str(clips), "-o", str(output), f"--runs={tmp_path / 'runs'}", *quick])
    assert "2 of 3 videos" in capsys.readouterr().out
    arrays, metadata = read_features(output / "inside/second.mp4.safetensors")
    assert arrays["features"].shape[1] == 24
    assert metadata["checkpoint"] == str(run / "checkpoints" / "last.ckpt")

    one = (str(clips / "first.mp4"), f"--checkpoint={run}", "--levels=[0,1]", "--features=dense", "--stride=0.5")
    main(["embed", *one, "--crop_size=[16,16]", "--format=npz", "-o", str(tmp_path / "one"), *quick])
    arrays = read_features(tmp_path / "one/first.mp4.npz").arrays
    assert arrays["token_grid"].tolist() == [2, 2, 2]
    assert arrays["level_1"].shape == (len(arrays["start_seconds"]), 8, 24)
    assert np.isfinite(arrays["level_0"]).all()
    with (tmp_path / "one/index.csv").open(newline="") as file:
        assert [row["output"] for row in csv.DictReader(file)] == ["first.mp4.npz"]

    (clips / "none").mkdir()
    shutil.move(clips / "text.mp4", clips / "none")
    said = slip(capsys, "embed", clips / "none", "-o", output, f"--checkpoint={run}", *quick)
    assert said.startswith(f"none of the 1 videos could be read, the first is {clips}/none/text.mp4: ")
    assert "there is no file none.mp4" in slip(capsys, "embed", "none.mp4", "-o", output, f"--checkpoint={run}")
    said = slip(capsys, "embed", clips, "-o", output, f"--checkpoint={run}", "--levels=[7]", *quick)
    assert "levels [7] do not exist" in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "missing 'sources', 'output'; see `--help`"),
        (("clips",), "missing 'output'"),
        (("clips", "-o=out", "--strid=1"), "unknown key 'strid'; did you mean 'stride'?"),
        (("clips", "-o=out", "--features=mean"), "'features': expected one of ['pooled', 'dense', 'embedding']"),
        (("clips", "-o=out", "--runs=none"), "there is no run below none"),
    ],
)
def test_slips_are_named(capsys, arguments, sentence):
    assert sentence in slip(capsys, "embed", *arguments)
