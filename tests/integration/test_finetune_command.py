"""`vjepa finetune`: one table and its files, models that other commands take, one sentence for a slip."""

import csv
import json

import pytest

from tests.cli.test_errors import slip
from vjepa.cli.main import main

pytestmark = pytest.mark.slow


@pytest.fixture
def arguments(tiny_world, tiny_recipe, tmp_path) -> list[str]:
    """Of a short fine-tuning of a recipe's random weights."""
    recipe = tmp_path / "finetune.yaml"
    recipe.write_text(
        "data:\n"
        + "".join(f"  {split}_manifest: {tiny_world / split}.csv\n" for split in ("train", "val", "test"))
        + "  num_frames: 4\n  frame_step: 2\n  crop_size: [32, 32]\n  num_workers: 0\n"
        + f"runs: {tmp_path / 'runs'}\n"
        + "sweep: {learning_rates: [1.0e-3], min_steps: 2, num_epochs: 1, batch_size: 8}\n"
    )
    return ["finetune", "-c", str(recipe), f"--checkpoint={tiny_recipe}", "--accelerator=cpu"]


def test_methods_are_compared_and_the_tuned_encoder_is_probed(arguments, tmp_path, capsys):
    main([*arguments, "--methods=[whole,frozen]", "--seeds=[0,1]", "--labels_per_class=[1]"])
    said = " ".join(capsys.readouterr().out.split())
    folder = tmp_path / "runs" / "tiny" / "finetune"
    for words in (
        "fine-tuning the target encoder of",
        "tiny.yaml, 1 labels per class: accuracy in % on 6 test clips, chance 8.3",
        "(100.00%)",
        "frozen: trains 0 weights of the encoder (0.00%)",
        f"results and models are in {folder}",
    ):
        assert words in said, words
    with (folder / "results.csv").open(newline="") as file:
        cells = [(cell["features"], cell["probe"], cell["seed"]) for cell in csv.DictReader(file)]
    assert sorted(cells) == [(row, "attentive", seed) for row in ("frozen", "whole") for seed in "01"]
    facts = json.loads((folder / "results.json").read_text())
    assert facts["trained"]["whole"]["fraction"] == 1.0 and len(facts["results"]) == 4
    probe = ["probe", *arguments[1:3], f"--checkpoint={folder / 'whole'}", "--baselines=[]", "--labels_per_class=[all]"]
    main([*probe, "--accelerator=cpu", "--sweep.heads=[linear]"])
    assert "probing the target encoder of" in capsys.readouterr().out


def test_slips_are_named(arguments, tmp_path, capsys):
    for flag, sentence in (
        ("--methods=[half]", "whole"),
        ("--methods=[]", "methods must name at least one of whole, lora, frozen, scratch"),
        ("--lora.rank=0", "rank (0) of low-rank adapters must be at least 1"),
        ("--layer_decay=0", "layer_decay (0.0) must be more than 0 and at most 1"),
        ("--data.label=action", "has no classes in a column 'action'"),
        ("--checkpoint=none.ckpt", "there is no"),
    ):
        assert sentence in slip(capsys, *arguments, flag), flag
