"""`vjepa surprise` on small runs: tables, files and pictures, and one sentence for a slip."""

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml

from tests.cli.test_errors import slip
from tests.integration.test_world_model_fit import RECIPE as WORLD_MODEL
from tests.tiny_pairs import write_pairs
from tests.training.tiny_dot_world import dot_model
from vjepa.cli.main import main

pytestmark = pytest.mark.slow

WINDOWS = ("--windows.num_frames=6", "--windows.context_lengths=[2,4]", "--windows.stride=4")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs"))


def flags(pairs: Path, output: Path, *more: str) -> list[str]:
    data = [f"--data.test_manifest={pairs}", "--data.frame_step=1", "--data.crop_size=[32,32]", "--data.num_workers=0"]
    return [*data, *WINDOWS, f"--output={output}", "--accelerator=cpu", *more]


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def without_predictor(recipe: Path) -> Path:
    """A recipe in the way of LeVJEPA: weights of a recipe are random."""
    content = yaml.safe_load(recipe.read_text())
    content["model"]["init_args"] |= {
        "predictor": None,
        "encoder": {**content["model"]["init_args"]["encoder"], "attention": "causal"},
    }
    file = recipe.with_name("levjepa.yaml")
    file.write_text(yaml.safe_dump(content))
    return file


def test_a_run_is_scored_beside_baselines(tiny_recipe, pairs, tmp_path, capsys):
    main(["fit", "-c", str(tiny_recipe), "--name=a", "--trainer.max_steps=2", "--data.val_manifest=null"])
    run = tmp_path / "runs" / "a" / "version_0"
    output = tmp_path / "out"
    main(["surprise", *flags(pairs, output, f"--data.val_manifest={pairs}", f"--runs={tmp_path / 'runs'}")])
    said = " ".join(capsys.readouterr().out.split())
    for words in (
        f"surprise of the predictor and the target encoder of {run / 'checkpoints' / 'last.ckpt'}, step 2",
        "a, step 2: pairs whose impossible clip surprises more, in %",
        "light, harmless",
        "single test clips in % (possible ones should be 90, 9 and 1)",
        f"results are in {output}",
    ):
        assert words in said, words
    rows = rows_of(output / "results.csv")
    assert list(dict.fromkeys(row["row"] for row in rows)) == [
        "pretrained",
        "copy of latents",
        "velocity of latents",
        "random weights",
        "copy of pixels",
        "velocity of pixels",
        "change of pixels",
        "change of flow",
    ]
    assert {(row["property"], row["harmless"], row["pairs"]) for row in rows} == {
        ("continuity", "0", "2"),
        ("light", "1", "2"),
    }
    assert all(float(row["accuracy_low"]) <= float(row["accuracy"]) <= float(row["accuracy_high"]) for row in rows)
    assert len(rows_of(output / "calibration.csv")) == 2 * 8 and len(rows_of(output / "clips.csv")) == 8 * 8
    facts = json.loads((output / "results.json").read_text())
    assert facts["step"] == 2 and facts["windows"]["context_lengths"] == [2, 4] and len(facts["results"]) == len(rows)
    assert {file.name for file in (output / "pictures").iterdir()} == {"continuity.png", "light_harmless.png"}


def test_a_model_without_predictor_is_refused_or_gets_a_stand_in(tiny_recipe, pairs, tmp_path, capsys):
    recipe = without_predictor(tiny_recipe)
    given = flags(pairs, tmp_path / "out", f"--checkpoint={recipe}", "--baselines=[random]", "--pairs_per_sheet=0")
    assert "levjepa.yaml has no predictor that could be surprised; give --data.train_manifest" in slip(
        capsys, "surprise", *given
    )
    main(["surprise", *given, f"--data.train_manifest={pairs}"])
    rows = rows_of(tmp_path / "out" / "results.csv")
    assert list(dict.fromkeys(row["row"] for row in rows)) == ["pretrained, ridge", "random weights, ridge"]
    assert not (tmp_path / "out" / "pictures").exists()


def test_a_world_model_is_scored(pairs, tmp_path, capsys):
    checkpoint = tmp_path / "runs" / "dots" / "version_0" / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    recipe = yaml.safe_load(WORLD_MODEL)
    for part in ("dynamics_phase", "temporal_distance"):
        del recipe["model"]["init_args"][part]
    recipe["model"]["init_args"]["dynamics"]["init_args"]["hidden_dim"] = 32
    recipe["model"]["init_args"]["terms"] = {"rollout": recipe["model"]["init_args"]["terms"]["rollout"]}
    (checkpoint.parents[1] / "config.yaml").write_text(yaml.safe_dump(recipe))
    own = {"time_similarity": None, "straightening": None, "inverse_dynamics": None, "regularizer": None}
    torch.save({"state_dict": dot_model(own).state_dict(), "global_step": 5}, checkpoint)
    given = flags(
        pairs, tmp_path / "out", f"--checkpoint={checkpoint}", "--data.crop_size=[16,16]", "--baselines=[random]"
    )
    main(["surprise", *given])
    said = " ".join(capsys.readouterr().out.split())
    assert f"surprise of the world model of {checkpoint}, step 5" in said
    assert "the clips have no actions (column 'actions'): the world model is given actions of zero" in said
    rows = rows_of(tmp_path / "out" / "results.csv")
    assert list(dict.fromkeys(row["row"] for row in rows)) == ["pretrained", "random weights"]


def test_slips_are_named(tiny_recipe, pairs, tmp_path, capsys):
    def said(*more: str) -> str:
        return slip(capsys, "surprise", *flags(pairs, tmp_path / "out", f"--checkpoint={tiny_recipe}", *more))

    alone = tmp_path / "alone.csv"
    alone.write_text("\n".join(pairs.read_text().splitlines()[:2]) + "\n")
    assert (
        "pair 'continuity_0' of" in (found := said(f"--data.test_manifest={alone}")) and "a pair is two rows" in found
    )
    assert "no values in a column 'hardness'" in said("--data.property_column=hardness")
    assert "can't be scored: it has 14 frames at this rate, fewer than a window of 32" in said(
        "--windows.num_frames=32"
    )
    assert "windows.context_lengths (3) must be a multiple of the tubelet's 2 frames" in said(
        "--windows.context_lengths=[3]"
    )
    assert "give exactly one of fps" in said("--data.fps=4")
    assert "unknown key 'windows.contexts'; did you mean 'windows.context_lengths'?" in said("--windows.contexts=[2]")
    assert "there is no run below" in slip(capsys, "surprise", *flags(pairs, tmp_path, f"--runs={tmp_path / 'none'}"))
