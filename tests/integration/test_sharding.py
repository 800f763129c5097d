"""One recipe on one device, with DDP and with FSDP2, on any number of ranks and nodes: the same losses and weights."""

import pytest
import torch
import yaml

from tests.integration.runs import checkpoint, logged, vjepa
from tests.integration.test_world_model_fit import RECIPE as WORLD_MODEL
from tests.monitoring.test_online_probe import settings_of
from tests.training.tiny_dot_world import write_dot_world

pytestmark = pytest.mark.slow

STEPS = ("--trainer.max_steps=6", "--trainer.gradient_clip_val=0.5", "--data.global_batch_size=12")


def on(strategy: str, ranks: int, nodes: int = 1) -> tuple[str, ...]:
    flags = (f"--trainer.strategy={strategy}", f"--trainer.devices={ranks // nodes}", f"--trainer.num_nodes={nodes}")
    return flags if ranks > 1 else ()


def regularizer(name: str, **settings) -> dict:
    return {"class_path": f"vjepa.objectives.{name}", "init_args": settings}


def fit(recipe, name: str, *flags: str, ranks: int = 1, nodes: int = 1):
    run = vjepa("fit", "-c", recipe, f"--name={name}", *STEPS, *flags, ranks=ranks if ranks > 1 else 0, nodes=nodes)
    assert run.returncode == 0, run.stderr
    return run


def assert_same_run(recipe, name: str, reference: str, steps: int = 6) -> None:
    """Losses of the last steps, weights, target encoder, moments, and the place in the data."""
    folders = [recipe.parent / "runs" / each / "version_0" for each in (name, reference)]
    ours, theirs = map(checkpoint, folders)
    assert ours["state_dict"].keys() == theirs["state_dict"].keys()
    for key, tensor in theirs["state_dict"].items():
        torch.testing.assert_close(ours["state_dict"][key], tensor, atol=1e-6, rtol=0, msg=f"{key} differs")
    mine, other = (each["optimizer_states"][0]["state"] for each in (ours, theirs))
    assert mine.keys() == other.keys()
    torch.testing.assert_close(mine, other, atol=1e-6, rtol=0)
    assert ours.get("ClipDataModule") == theirs.get("ClipDataModule")
    losses = [logged(folder, "train/loss") for folder in folders]
    assert len(losses[0]) == steps
    assert losses[0] == pytest.approx(losses[1][-steps:], abs=1e-6)


def test_one_device_ddp_and_fsdp2_are_one_run_and_go_on_from_each_other(tiny_recipe, tiny_world):
    recipe = yaml.safe_load(tiny_recipe.read_text())
    recipe["model"]["init_args"]["terms"] = {
        "prediction": {"class_path": "vjepa.objectives.LatentPrediction"},
        "agreement": regularizer(
            "Agreement", regularizer=regularizer("VarianceCovariance", projector={"input_dim": 24})
        ),
        "spread": regularizer("Regularization", regularizer=regularizer("SIGReg")),
        "decorrelation": regularizer("Regularization", regularizer=regularizer("BarlowTwins")),
    }
    recipe["online_probe"] = {"data": settings_of(tiny_world), "every_n_steps": 6, "num_steps": 2}
    tiny_recipe.write_text(yaml.safe_dump(recipe))
    half = tiny_recipe.parent / "runs" / "fsdp2" / "version_0" / "checkpoints" / "step_3.ckpt"
    of_one = fit(tiny_recipe, "one").stdout
    sharded = fit(tiny_recipe, "fsdp2", *on("fsdp2", 2), "--checkpoint.keep_every_n_steps=3", ranks=2)
    assert_same_run(tiny_recipe, "fsdp2", "one")
    # The probe sees whole weights, once.
    scores = [
        [line.partition(" on ")[0] for line in said.splitlines() if line.startswith("online probe at")]
        for said in (of_one, sharded.stdout)
    ]
    assert len(scores[0]) == 2 and scores[0] == scores[1]
    # Its half goes on in another number of shards, on one device, and with DDP.
    for name, strategy, ranks in (("three", "fsdp2", 3), ("single", "", 1), ("ddp", "ddp", 2)):
        fit(tiny_recipe, name, *on(strategy, ranks), f"--ckpt_path={half}", ranks=ranks)
        assert_same_run(tiny_recipe, name, "one", steps=3)
    # Shards within each of two nodes, from a checkpoint of DDP's run at its end.
    fit(tiny_recipe, "nodes", *on("hsdp", 4, nodes=2), ranks=4, nodes=2)
    assert_same_run(tiny_recipe, "nodes", "one")


def test_micro_batches_are_the_whole_batch(tiny_recipe):
    fit(tiny_recipe, "one")
    fit(tiny_recipe, "parts", "--efficiency.max_micro_batch=5")  # three of 4
    fit(tiny_recipe, "ddp", *on("ddp", 2), "--efficiency.max_micro_batch=2", ranks=2)
    again = "--efficiency.activation_checkpointing=true"
    fit(tiny_recipe, "fsdp2", *on("fsdp2", 2), "--efficiency.max_micro_batch=2", again, ranks=2)
    for name in ("parts", "ddp", "fsdp2"):
        assert_same_run(tiny_recipe, name, "one")


def test_a_world_model_in_shards_is_the_one_of_one_device(tmp_path):
    file = tmp_path / "dots.yaml"
    settings = yaml.safe_load(WORLD_MODEL.replace("EPISODES", str(write_dot_world(tmp_path / "episodes"))))
    settings["model"]["init_args"] |= {"dynamics_phase": None, "temporal_distance": None}
    settings["trainer"]["log_every_n_steps"] = 1
    file.write_text(yaml.safe_dump(settings))
    flags = (f"--runs={tmp_path / 'runs'}", "--data.global_batch_size=8")
    fit(file, "one", *flags)
    said = fit(file, "fsdp2", *flags, *on("fsdp2", 2), ranks=2).stdout
    assert said.count("world model health: nothing is read") == 1
    assert_same_run(file, "fsdp2", "one")
