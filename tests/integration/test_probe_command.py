"""`vjepa probe` on a small run: one table, its files, and one sentence for a slip."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.cli.test_errors import slip
from tests.integration.runs import vjepa
from vjepa.cli.main import main

pytestmark = pytest.mark.slow

QUICK = (
    "--sweep.learning_rates=[1e-3]",
    "--sweep.weight_decays=[0.1]",
    "--sweep.num_epochs=1",
    "--sweep.min_steps=2",
    "--accelerator=cpu",
)


@pytest.fixture
def probe_recipe(tiny_world, tmp_path) -> Path:
    """A recipe of `vjepa probe` on the small dataset."""
    recipe = tmp_path / "probe.yaml"
    recipe.write_text(
        "data:\n"
        + "".join(f"  {split}_manifest: {tiny_world / split}.csv\n" for split in ("train", "val", "test"))
        + "  num_frames: 4\n  frame_step: 2\n  crop_size: [32, 32]\n  num_workers: 0\n"
        + f"runs: {tmp_path / 'runs'}\n"
    )
    return recipe


@pytest.fixture(scope="module")
def trained() -> list[Path]:
    """The folder of all runs, once one has been trained."""
    return []


@pytest.fixture
def run(trained, tiny_recipe, tmp_path, tmp_path_factory) -> Path:
    """The folder of a run of three steps, a copy of its own for each test."""
    if not trained:
        main(["fit", "-c", str(tiny_recipe), "--name=a", "--trainer.max_steps=3"])
        trained.append(shutil.copytree(tmp_path / "runs", tmp_path_factory.mktemp("trained") / "runs"))
    return shutil.copytree(trained[0], tmp_path / "runs", dirs_exist_ok=True) / "a" / "version_0"


def checkpoint_of(run: Path) -> Path:
    return run / "checkpoints" / "last.ckpt"


def test_a_run_is_probed_beside_what_has_learned_nothing(run, probe_recipe, capsys):
    asked = ("--labels_per_class=[1,all]", "--temporal=[arrow,speed]")
    main(["probe", "-c", str(probe_recipe), *QUICK, *asked])
    said = " ".join(capsys.readouterr().out.split())
    for words in (
        f"probing the target encoder of {checkpoint_of(run)}, step 3",
        "a, step 3, 1 labels per class: accuracy in % on 6 test clips, chance 8.3",
        "a, step 3, all labels:",
        "a, step 3, arrow of time: accuracy in % on 6 test clips, chance 50.0",
        "a, step 3, speed: accuracy in % on 6 test clips, chance 33.3",
        "random weights",
        "intervals are 95 % over test clips",
        f"results are in {run / 'probe'}",
    ):
        assert words in said, words
    assert "random weights" in (run / "probe" / "chart.svg").read_text()
    with (run / "probe" / "results.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    assert {(cell["task"], cell["labels"]) for cell in cells} == {
        ("classes", "1"),
        ("classes", "all"),
        ("arrow of time", "all"),
        ("speed", "all"),
    }
    names = ["pretrained", "random weights", "raw pixels", "frame differences"]
    assert [cell["features"] for cell in cells[::3]] == [name for name in names for _ in range(2)] + names * 2
    assert [cell["probe"] for cell in cells] == ["kNN", "linear", "attentive"] * 16
    assert all(float(cell["low"]) <= float(cell["top1"]) <= float(cell["high"]) for cell in cells)
    facts = json.loads((run / "probe" / "results.json").read_text())
    assert facts["step"] == 3 and facts["encoder"] == "target" and len(facts["results"]) == len(cells)
    assert [f"{result['scores']['top1']:.4f}" for result in facts["results"]] == [cell["top1"] for cell in cells]
    assert (run / "probe" / "per_class.csv").read_text().startswith("task,features,labels,probe,seed,class,accuracy\n")


def test_a_second_probe_encodes_nothing_and_repeats_the_first(run, probe_recipe, tmp_path, capsys):
    arguments = ["probe", "-c", str(probe_recipe), *QUICK, "--labels_per_class=[all]", "--baselines=[pixels]"]
    main([*arguments, f"--output={tmp_path / 'first'}"])
    assert "encoded 26 of 26 clips of train" in capsys.readouterr().out
    main([*arguments, f"--output={tmp_path / 'second'}", f"--checkpoint={checkpoint_of(run)}"])
    assert "encoded" not in capsys.readouterr().out.replace("decoded and encoded", "")
    first, second = ((tmp_path / name / "results.csv").read_text() for name in ("first", "second"))
    assert first == second
    main([*arguments, f"--output={tmp_path / 'third'}", "--cache_gigabytes=0"])
    assert "clips are decoded and encoded anew in each pass" in " ".join(capsys.readouterr().out.split())
    main([*arguments, f"--output={tmp_path / 'fourth'}", "--encoder=context", "--levels=[0,1]"])
    assert "probing the context encoder" in capsys.readouterr().out


def test_files_that_cannot_be_read_are_named_at_the_end(run, probe_recipe, tiny_world, tmp_path, capsys):
    (tmp_path / "broken.mp4").write_text("no video")
    rows = [",".join(line.split(",")[:2]) for line in (tiny_world / "test.csv").read_text().splitlines()]
    label = rows[1].split(",")[1]
    (tmp_path / "test.csv").write_text("\n".join([*rows, f"{tmp_path / 'broken.mp4'},{label}"]) + "\n")
    changed = [f"--data.test_manifest={tmp_path / 'test.csv'}", f"--data.root={tiny_world}"]
    for _ in range(2):  # the second time, features come from the cache
        main(["probe", "-c", str(probe_recipe), *QUICK, "--labels_per_class=[all]", "--baselines=[]", *changed])
        said = " ".join(capsys.readouterr().out.split())
        assert f"files that could not be read and were left out: 1, the first {tmp_path / 'broken.mp4'}" in said
        assert "accuracy in % on 6 test clips" in said


def test_the_command_runs_in_a_process_of_its_own(run, probe_recipe):
    probed = vjepa("probe", "-c", probe_recipe, *QUICK, "--labels_per_class=[all]", "--data.num_workers=1")
    assert probed.returncode == 0, probed.stderr
    assert "Warning" not in probed.stderr and "Traceback" not in probed.stderr, probed.stderr


def test_a_run_its_folder_and_its_conversion_score_alike(run, probe_recipe, tmp_path, capsys):
    main(["convert", str(run), str(tmp_path / "native"), "--to=native"])
    quick = ["probe", "-c", str(probe_recipe), *QUICK, "--labels_per_class=[all]", "--baselines=[random]"]
    scores = []
    for number, path in enumerate((checkpoint_of(run), run, tmp_path / "native")):
        main([*quick, f"--checkpoint={path}", f"--output={tmp_path / str(number)}"])
        with (tmp_path / str(number) / "results.csv").open(newline="") as file:
            scores.append([row["top1"] for row in csv.DictReader(file)])
    assert scores[0] == scores[1] == scores[2] and len(scores[0]) == 6
    assert "native, all labels: accuracy in %" in capsys.readouterr().out
    main([*quick, f"--checkpoint={tmp_path / 'native'}"])  # beside the runs, not beside the weights
    assert (tmp_path / "runs" / "native" / "probe" / "results.csv").exists()


# --- slips


def test_without_a_run_the_way_out_is_named(probe_recipe, capsys):
    assert "there is no run below" in slip(capsys, "probe", "-c", probe_recipe)


def test_what_is_no_checkpoint_of_a_run_is_named(probe_recipe, tmp_path, capsys):
    (tmp_path / "a.ckpt").write_text("not a checkpoint")
    torch.save({"weights": {}}, tmp_path / "b.ckpt")
    for name, sentence in {
        "none.ckpt": "there is no checkpoint file",
        "a.ckpt": "a.ckpt is not a checkpoint (or was cut short)",
        "b.ckpt": "b.ckpt has no 'state_dict': it is no checkpoint of a vjepa run",
    }.items():
        assert sentence in slip(capsys, "probe", "-c", probe_recipe, f"--checkpoint={tmp_path / name}")


def test_missing_or_strange_settings_of_a_run_are_named(run, probe_recipe, tmp_path, capsys):
    settings = shutil.move(run / "config.yaml", tmp_path / "away.yaml")
    said = slip(capsys, "probe", "-c", probe_recipe)
    assert f"are not at {run / 'config.yaml'}; give the run's config.yaml with --settings" in said
    (tmp_path / "strange.yaml").write_text("a: [1, 2]\n")
    said = slip(capsys, "probe", "-c", probe_recipe, f"--settings={tmp_path / 'strange.yaml'}")
    assert "strange.yaml holds no settings of a vjepa run" in said
    text = Path(settings).read_text()
    (tmp_path / "newer.yaml").write_text(text.replace("      norm_eps:", "      new_key: 3\n      norm_eps:", 1))
    said = slip(capsys, "probe", "-c", probe_recipe, f"--settings={tmp_path / 'newer.yaml'}")
    assert "don't fit" in said and "new_key" in said
    (tmp_path / "wider.yaml").write_text(text.replace("embed_dim: 24", "embed_dim: 48"))
    with pytest.raises(SystemExit) as exit_:
        main(["probe", "-c", str(probe_recipe), f"--settings={tmp_path / 'wider.yaml'}"])
    said = capsys.readouterr().err
    assert exit_.value.code == 2 and "does not fit this model, nothing was loaded" in said and "Traceback" not in said


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--data.num_frame=3", "unknown key 'data.num_frame'; did you mean 'data.num_frames'?"),
        ("--sweep.learning_rate=3", "unknown key 'sweep.learning_rate'; did you mean 'sweep.learning_rates'?"),
        ("--chekpoint=a.ckpt", "unknown key 'chekpoint'; did you mean 'checkpoint'?"),
        ("--temporal=[arow]", "'temporal': expected one of ['arrow', 'order', 'speed']"),
        ("--encoder=student", "'encoder': expected one of ['target', 'context']"),
        ("--data.label=verb", "has no classes in a column 'verb'; a probe needs them (--data.label)"),
        ("--data.test_manifest=null", "there are no clips to test on: give a test_manifest"),
        ("--data.train_manifest=none.csv", "there is no manifest or folder none.csv"),
        ("--data.fps=4", "give exactly one of fps (4.0) and frame_step (2.0)"),
        ("--data.num_frames=5", "num_frames (5) must be a multiple of the tubelet"),
        ("--labels_per_class=[0]", "labels_per_class (0) must be more than 0, or 'all'"),
        ("--levels=[2]", "levels [2] do not exist; this encoder has levels 0 to 1"),
        ("--temporal=[order] --data.num_frames=2", "num_frames (2) must be at least 4 for the frame order task"),
        ("--temporal=[speed] --cache_gigabytes=1e-6", "features for temporal tasks take"),
    ],
)
def test_slips_are_named_in_one_sentence(run, probe_recipe, capsys, flag, sentence):
    said = slip(capsys, "probe", "-c", probe_recipe, *QUICK, *flag.split())
    assert sentence in said and "Traceback" not in said


def test_a_wrong_key_in_a_recipe_is_named(probe_recipe, tmp_path, capsys):
    (tmp_path / "wrong.yaml").write_text("data:\n  num_frame: 3\n")
    said = slip(capsys, "probe", "-c", probe_recipe, "-c", tmp_path / "wrong.yaml")
    assert "unknown key 'data.num_frame'; did you mean 'data.num_frames'?" in said
    assert "missing 'train_manifest'" in slip(capsys, "probe")
