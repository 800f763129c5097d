"""The recipe of V-JEPA 2-AC has the released numbers, and trains: here at a tiny size on three made episodes."""

from pathlib import Path

import pytest
import torch
import yaml

from tests.data.episodes.tiny_episodes import write_droid
from tests.training.test_pretrained_frame_encoder import pretrained
from vjepa.cli.main import main
from vjepa.models.dynamics.token_dynamics import TokenDynamics
from vjepa.training import Schedule
from vjepa.training.pretrained_frame_encoder import PretrainedFrameEncoder
from vjepa.training.world_model_run import read_world_model

RECIPE = Path(__file__).parents[2] / "configs/worldmodel/vjepa2_ac_droid.yaml"
TINY = """
trainer: {max_steps: 2, accelerator: cpu, precision: 32-true, limit_val_batches: 1}
world_model_health: {num_windows: 4}
model:
  init_args:
    encoder:
      init_args: {frame_size: [16, 16]}
    dynamics:
      init_args: {grid: [2, 2], width: 24, depth: 1, num_heads: 2}
data:
  init_args: {resize: [16, 16], global_batch_size: 4, val_fraction: 0.3, num_workers: 0}
"""


@pytest.fixture(scope="module")
def settings() -> dict:
    return yaml.safe_load(RECIPE.read_text(encoding="utf-8"))


def test_the_predictor_has_the_released_shape(settings):
    model = settings["model"]["init_args"]
    with torch.device("meta"):
        dynamics = TokenDynamics(1408, model["frame_step"] * model["action_dim"], **model["dynamics"]["init_args"])
    weights = dynamics.predictor.state_dict()
    assert len(weights) == 300
    assert round(sum(each.numel() for each in weights.values()) / 1e6, 1) == 305.2


def test_learning_rate_and_weight_decay_are_the_released_ones(settings):
    model, steps = settings["model"]["init_args"], settings["trainer"]["max_steps"]
    rate, decay = (Schedule(**model[name]) for name in ("learning_rate", "weight_decay"))
    expected = {1: 7.5077778e-5, 4499: 4.2492222e-4, 4500: 4.25e-4, 90_000: 4.25e-4, 92_250: 2.125e-4, 94_500: 0.0}
    assert {step: rate.value(step, steps) for step in expected} == pytest.approx(expected, rel=1e-7)
    assert {decay.value(step, steps) for step in (1, steps)} == {0.04}


def test_clips_and_loss_are_the_released_ones(settings):
    model, data = settings["model"]["init_args"], settings["data"]["init_args"]
    clip = [data[name] for name in ("frames_per_second", "num_steps", "resize", "camera", "global_batch_size")]
    assert clip == [4, 7, [256, 256], "left", 256]
    terms = {name: (term["class_path"].rpartition(".")[2], term["init_args"]) for name, term in model["terms"].items()}
    one = {"exponent": 1.0}  # weights are 1 unless given
    assert terms == {"rollout": ("Rollout", one), "teacher_forcing": ("TeacherForcing", one)}
    assert (model["rollout_steps"], model["rollout_context"]) == (2, 1)
    assert (settings["trainer"]["precision"], model["normalize_actions"]) == ("bf16-mixed", False)


def test_a_tiny_model_trains_by_the_recipe(tmp_path, capsys):
    pytest.importorskip("h5py")
    episodes = write_droid(tmp_path / "droid", lengths=(41, 37, 33))
    checkpoint = pretrained(tmp_path / "run")
    tiny = tmp_path / "tiny.yaml"
    tiny.write_text(TINY)
    flags = [f"--data.root={episodes}", f"--model.encoder.checkpoint={checkpoint}", "--model.dynamics.context=5"]
    main(["fit", "-c", str(RECIPE), "-c", str(tiny), f"--runs={tmp_path / 'runs'}", "--name=arm", *flags])
    assert "Finished at step 2" in capsys.readouterr().out
    model = read_world_model(tmp_path / "runs/arm/version_0/checkpoints/last.ckpt").model
    assert isinstance(model.dynamics, TokenDynamics)
    assert (model.dynamics.state_update, model.dynamics.context) == ("pose", 5)
    # Actions stay as they are, and the encoder what it was.
    torch.testing.assert_close(model.actions.std, torch.ones(7), rtol=0, atol=0)
    frozen = PretrainedFrameEncoder(checkpoint, (16, 16))
    torch.testing.assert_close(dict(model.encoder.state_dict()), dict(frozen.state_dict()), rtol=0, atol=0)
    imagined = model.imagine(torch.randn(1, 4, 24), torch.rand(1, 5, 7), torch.rand(1, 1, 7))
    assert imagined.shape == (1, 5, 4, 24)
