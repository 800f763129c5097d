"""A world model on an encoder that was trained on videos: of a run of ours, and after that run is gone."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.interop.tiny_models import part_of
from tests.training.tiny_dot_world import dot_data, write_dot_world
from vjepa.cli.main import main
from vjepa.data.clips.batch import normalize_frames
from vjepa.models import Predictor, VideoEncoder
from vjepa.training.pretrained_frame_encoder import PretrainedFrameEncoder
from vjepa.training.world_model_run import read_world_model

ENCODER = {"size": "tiny", "embed_dim": 24, "depth": 2, "num_heads": 2, "tubelet": [2, 8, 8]}
RECIPE = """
trainer: {max_steps: 2, accelerator: cpu, limit_val_batches: 0}
world_model_health: {num_windows: 6}
model:
  class_path: vjepa.training.WorldModel
  init_args:
    action_dim: 2
    frame_step: 2
    freeze_encoder: true
    encoder:
      class_path: vjepa.training.pretrained_frame_encoder.PretrainedFrameEncoder
      init_args: {checkpoint: PRETRAINED, frame_size: [16, 16], pool: true}
    dynamics:
      class_path: vjepa.models.dynamics.residual.ResidualDynamics
      init_args: {hidden_dim: 16}
data:
  class_path: vjepa.data.episodes.data_module.EpisodeDataModule
  init_args: {root: EPISODES, num_steps: 4, global_batch_size: 8, val_fraction: 0.25}
"""


def pretrained(folder: Path, **settings) -> Path:
    """What `make pretrain` leaves on videos of 32 x 32 pixels, here with random weights."""
    (folder / "checkpoints").mkdir(parents=True)
    encoder = ENCODER | settings
    predictor = {"embed_dim": 24, "depth": 1, "num_heads": 2}
    data = {"num_frames": 4, "crop_size": [32, 32], "fps": None, "frame_step": 2, "train_manifest": "train.csv"}
    recipe = {"model": {"init_args": {"encoder": encoder, "predictor": predictor}}, "data": {"init_args": data}}
    (folder / "config.yaml").write_text(yaml.safe_dump(recipe))
    torch.manual_seed(0)
    parts = {"context_encoder": part_of(VideoEncoder, **encoder), "target_encoder": part_of(VideoEncoder, **encoder)}
    parts["predictor"] = part_of(Predictor, encoder_dim=24, **predictor)
    weights = {f"{name}.{key}": each for name, part in parts.items() for key, each in part.weights.items()}
    torch.save({"state_dict": weights, "global_step": 7}, folder / "checkpoints" / "last.ckpt")
    return folder / "checkpoints" / "last.ckpt"


@pytest.mark.parametrize("position", ["rotary", "sincos_uniform"])
def test_frames_of_another_size_than_in_pretraining_are_seen(tmp_path, position):
    table = {"position_grid": [2, 4, 4]} if position == "sincos_uniform" else {}
    checkpoint = pretrained(tmp_path / "run", position=position, **table)
    encoder = PretrainedFrameEncoder(checkpoint, (64, 48), pool_grid=(4, 3))
    latents = encoder(torch.randn(2, 3, 64, 48))
    assert latents.shape == (2, 12, 24) == (2, encoder.num_tokens, encoder.embed_dim)
    assert not torch.allclose(latents[0], latents[1])


def test_it_is_the_moving_average_unless_another_is_asked_for(tmp_path):
    checkpoint = pretrained(tmp_path / "run")
    saved = torch.load(checkpoint, weights_only=True)["state_dict"]
    for which, name in ((None, "target_encoder"), ("context", "context_encoder")):
        encoder = PretrainedFrameEncoder(checkpoint, (16, 16), which)
        torch.testing.assert_close(encoder.frames.encoder.norm.weight.data, saved[f"{name}.norm.weight"])


def test_an_encoder_that_sees_changes_alone_is_refused(tmp_path):
    checkpoint = pretrained(tmp_path / "run", difference_gain=3.0)
    with pytest.raises(
        ValueError, match=r"sees only what changes in a clip \(difference_gain: 3\), and nothing in a single"
    ):
        PretrainedFrameEncoder(checkpoint, (16, 16))


@pytest.mark.slow
def test_a_world_model_is_read_again_when_the_pretraining_run_is_gone(tmp_path):
    checkpoint = pretrained(tmp_path / "run")
    recipe = tmp_path / "recipe.yaml"
    episodes = write_dot_world(tmp_path / "episodes")
    recipe.write_text(RECIPE.replace("PRETRAINED", str(checkpoint)).replace("EPISODES", str(episodes)))
    main(["fit", "-c", str(recipe), f"--runs={tmp_path / 'runs'}", "--name=dots"])
    frames = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    last = tmp_path / "runs/dots/version_0/checkpoints/last.ckpt"
    before = read_world_model(last).model.encode_frames(frames)
    frozen = PretrainedFrameEncoder(checkpoint, (16, 16), pool=True)
    checkpoint.rename(tmp_path / "elsewhere.ckpt")
    model = read_world_model(last).model
    torch.testing.assert_close(model.encode_frames(frames), before, rtol=0, atol=0)
    torch.testing.assert_close(dict(model.encoder.state_dict()), dict(frozen.state_dict()), rtol=0, atol=0)


def test_training_without_the_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no file, folder or recipe"):
        PretrainedFrameEncoder(tmp_path / "gone.ckpt", (16, 16))


@pytest.mark.slow
def test_standardized_latents_have_unit_variance_and_come_back_with_the_model(tmp_path):
    episodes, checkpoint = write_dot_world(tmp_path / "episodes"), pretrained(tmp_path / "run")
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE.replace("EPISODES", str(episodes)).replace("PRETRAINED", str(checkpoint)))
    main(["fit", "-c", str(file), "--model.encoder.standardize=true", f"--runs={tmp_path / 'runs'}", "--name=dots"])
    model = read_world_model(tmp_path / "runs/dots/version_0/checkpoints/last.ckpt").model
    store = dot_data(episodes).store
    frames = torch.from_numpy(np.concatenate([store.frames(episode, np.array([0, 12])) for episode in range(8)]))
    latents = model.encoder(normalize_frames(frames.permute(0, 3, 1, 2))).detach()
    assert 0.5 < float(latents.std(0).mean()) < 1.5
    plain = PretrainedFrameEncoder(checkpoint, (16, 16), pool=True)(normalize_frames(frames.permute(0, 3, 1, 2)))
    assert float(plain.detach().std(0).mean()) < 0.5
