"""`vjepa compare` in small: a page, its pictures, nothing trained twice; and checkpoints of the pixel twin."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import vjepa
from tests.cli.test_errors import slip
from vjepa.cli.main import main
from vjepa.evaluation.comparison.comparison import Measured
from vjepa.evaluation.comparison.correlation import correlations
from vjepa.evaluation.comparison.page import table, winners
from vjepa.evaluation.comparison.training import trained_run
from vjepa.interop.loading import read_checkpoint
from vjepa.interop.run_folder import read_run

# The parser's own; of each it warns but once in a process, wherever that is.
pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")

QUICK = ("--sweep.learning_rates=[1e-3]", "--sweep.weight_decays=[0.1]", "--sweep.num_epochs=1", "--sweep.min_steps=2")


@pytest.fixture
def recipes(tiny_recipe: Path) -> list[Path]:
    """The small recipe with Barlow Twins, and its pixel twin."""
    recipe = yaml.safe_load(tiny_recipe.read_text())
    twin = copy.deepcopy(recipe)
    barlow = {
        "class_path": "vjepa.objectives.BarlowTwins",
        "init_args": {"projector": {"input_dim": 24, "output_dim": 8}},
    }
    agreement = {"class_path": "vjepa.objectives.Agreement", "init_args": {"regularizer": barlow}}
    recipe["model"]["init_args"]["terms"] = {
        "prediction": {"class_path": "vjepa.objectives.LatentPrediction"},
        "agreement": agreement,
    }
    tiny_recipe.write_text(yaml.safe_dump(recipe))
    twin["model"]["class_path"] = "vjepa.training.PixelBaseline"
    twin["model"]["init_args"]["predictor"]["target_dim"] = 3 * 2 * 8 * 8
    del twin["model"]["init_args"]["momentum"]
    path = tiny_recipe.with_name("pixels.yaml")
    path.write_text(f"# The twin in small.\n{yaml.safe_dump(twin)}")
    return [tiny_recipe, path]


@pytest.fixture
def probing(tiny_world: Path) -> list[str]:
    """What `vjepa probe` and `vjepa compare` are told of labelled clips and heads."""
    data = [f"--data.{split}_manifest={tiny_world / split}.csv" for split in ("train", "val", "test")]
    cuts = ["--data.num_frames=4", "--data.frame_step=2", "--data.crop_size=[32,32]", "--data.num_workers=0"]
    return [*data, *cuts, *QUICK, "--labels_per_class=[all]", "--accelerator=cpu"]


def in_this_process(command: list[str], **_: object) -> subprocess.CompletedProcess:
    """`python -m vjepa ...` without the seconds that it takes to start."""
    if command[0] == "git":  # asked for the commit
        return subprocess.CompletedProcess(command, 0, stdout="")
    assert command[:3] == [sys.executable, "-m", "vjepa"]
    main(command[3:])
    return subprocess.CompletedProcess(command, 0, stderr="")


@pytest.mark.slow
def test_a_comparison_writes_a_table_and_pictures_and_trains_nothing_twice(
    recipes, probing, tmp_path, capfd, monkeypatch
):
    arguments = [
        "compare",
        *probing,
        f"--recipes=[{','.join(map(str, recipes))}]",
        "--steps=2",
        "--at_once=1",
        "--seeds=[0]",
        "--fork_steps=1",
        "--decoder_steps=1",
        "--checkpoints=2",
        f"--runs={tmp_path / 'runs'}",
        f"--output={tmp_path / 'docs' / 'compare.md'}",
    ]
    monkeypatch.setattr(subprocess, "run", in_this_process)
    main(arguments)
    assert "tiny, seed 0: training for 2 steps" in capfd.readouterr().out
    text = (tmp_path / "docs" / "compare.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0] for line in lines] == ["| recipe", "| tiny", "| pixels", "| random weights"]
    for words in ("kNN, all labels", "* pixels: The twin in small.", "2 steps; seeds of training: 0", "--steps=2"):
        assert words in text
    assert float(lines[1].split(" | ")[-1].strip(" |")) > 0  # processor seconds
    for name in ("cost", "fork", "collapse", "barlow_twins", "latents"):
        assert f"(pictures/compare_{name}.png)" in text
        assert (tmp_path / "docs" / "pictures" / f"compare_{name}.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(subprocess, "run", None)
    for recipe in recipes:
        run = trained_run(recipe, 2, 0, tmp_path / "runs", "cpu", 1)
        assert (run.folder / "measured.json").is_file()
        scores = json.loads((run.folder / "scores_over_training.json").read_text())["scores"]
        assert [*scores] == ["0", "1", "2"] and all(0 <= score <= 1 for score in scores.values())
    found = correlations(
        trained_run(recipes[0], 2, 0, tmp_path / "runs", "cpu", 1), torch.zeros(3, 3, 4, 32, 32).byte()
    )
    assert found.recipe == "tiny" and found.before.shape == found.after.shape == (8, 8)
    assert capfd.readouterr().out.count("is complete") == 3


@pytest.mark.slow
def test_probes_and_load_encoder_read_the_pixel_twin(recipes, probing, tmp_path, capsys):
    main(["fit", "-c", str(recipes[1]), "--name=twin", "--trainer.max_steps=2"])
    said = capsys.readouterr().out
    assert "Finished at step 2" in said
    checkpoint = tmp_path / "runs" / "twin" / "version_0" / "checkpoints" / "last.ckpt"
    weights = read_checkpoint(checkpoint)["state_dict"]
    for which in ("target", "context"):
        main(["probe", *probing, f"--checkpoint={checkpoint}", f"--encoder={which}", "--baselines=[]"])
        assert "pretrained" in capsys.readouterr().out
        for encoder in (read_run(checkpoint).encoder(which), vjepa.load_encoder(checkpoint, which).encoder):
            found = encoder.state_dict()
            assert all(torch.equal(found[name], weights[f"encoder.{name}"]) for name in found)
    arguments = ["fit", "-c", str(recipes[1]), "--name=twin", "--trainer.max_steps=3", "--ckpt_path=last"]
    main(arguments)
    assert "Finished at step 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--steps=0", "steps (0) must be at least 1"),
        ("--recipes=[none.yaml]", "there is no recipe none.yaml; recipes are in configs/pretrain"),
        ("--seeds=[]", "there is nothing to compare"),
        ("--seeds=[1,1]", "must each be unique"),
        ("--stpes=3", "unknown key 'stpes'; did you mean 'steps'?"),
    ],
)
def test_slips_are_named(probing, capsys, flag, sentence):
    assert sentence in slip(capsys, "compare", *probing, flag)


def test_a_recipe_that_cannot_be_trained_is_named(recipes, probing, tmp_path, capsys, monkeypatch):
    failed = subprocess.CompletedProcess([], 2, stderr="a note\nvjepa: error: embed_dim (24) is wrong\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    arguments = [*probing, "--at_once=1", "--fork_steps=1", "--decoder_steps=1", f"--recipes=[{recipes[0]}]"]
    said = slip(capsys, "compare", *arguments, f"--runs={tmp_path / 'runs'}")
    assert said.endswith("tiny.yaml failed: embed_dim (24) is wrong")


@pytest.mark.slow
def test_runs_side_by_side_are_processes_and_what_fails_there_is_named(recipes, probing, tmp_path, capsys):
    broken = yaml.safe_load(recipes[0].read_text())
    broken["data"]["init_args"]["train_manifest"] = "nowhere.csv"
    recipes[0].write_text(yaml.safe_dump(broken))
    arguments = [*probing, "--at_once=2", "--steps=1", "--fork_steps=1", "--decoder_steps=1"]
    said = slip(
        capsys, "compare", *arguments, f"--recipes=[{','.join(map(str, recipes[:2]))}]", f"--runs={tmp_path / 'runs'}"
    )
    assert "tiny.yaml failed: " in said and "nowhere.csv" in said


def test_the_best_is_bold_whoever_it_is():
    def measured(*accuracies: float) -> list[Measured]:
        return [Measured({"kNN, all labels": accuracy}, 10.0, 0.5, None) for accuracy in accuracies]

    rows = {"latent": measured(0.5, 0.6), "pixels": measured(0.7, 0.8)}
    lines = table(rows).splitlines()
    assert "55.0 ± 7.1" in lines[2] and "**" not in lines[2]
    assert "**75.0 ± 7.1**" in lines[3]
    assert winners(rows) == ["* kNN, all labels: pixels, 20.0 points ahead of latent."]
