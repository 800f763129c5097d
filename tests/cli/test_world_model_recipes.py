"""Recipes of world models: each parses by the real command line, its parts fit together, and it has a full header."""

import re

import pytest
import torch

from tests.cli.test_recipes import ROOT, header, parts
from tests.training.test_pretrained_frame_encoder import pretrained
from tests.training.tiny_dot_world import write_dot_world
from vjepa.cli.main import main
from vjepa.data.episodes.data_module import EpisodeDataModule
from vjepa.models.dynamics.rollout import rollout
from vjepa.training import WorldModel
from vjepa.training.world_model_run import read_world_model

RECIPES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "configs" / "worldmodel").glob("*.yaml"))
OF_SMALL_ENCODERS = [recipe for recipe in RECIPES if "frozen" not in recipe and "droid" not in recipe]
FROZEN = "configs/worldmodel/two_rooms_frozen.yaml"
TINY = """
trainer: {max_steps: 6, accelerator: cpu, limit_val_batches: 1}
world_model_health: {num_windows: 6}
model:
  init_args:
    frame_step: 2
    encoder:
      init_args: {frame_size: [16, 16]}
    dynamics:
      init_args: {hidden_dim: 16}
    dynamics_phase: {steps: 4, num_windows: 8, num_steps: 5}
data:
  init_args: {num_steps: 4, global_batch_size: 8, val_fraction: 0.25}
"""


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("field", ["Paper", "Command", "Hardware", "Hours", "Expect"])
def test_the_header_says(recipe: str, field: str):
    assert re.search(rf"^# {field}: +\S", header(recipe), re.MULTILINE), f"{recipe} lacks a line '# {field}: ...'"


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_header_tells_its_own_command_and_where_its_numbers_are_from(recipe: str):
    text = header(recipe)
    assert recipe in text or recipe.endswith("/two_rooms.yaml")  # that one is the default of `make worldmodel`
    assert "measured here" in text or "as published" in text or "nothing is measured" in text


@pytest.mark.parametrize("recipe", OF_SMALL_ENCODERS)
def test_the_recipe_parses_and_its_parts_fit(recipe: str):
    model, data, trainer = parts(recipe)
    assert isinstance(model, WorldModel) and isinstance(data, EpisodeDataModule)
    assert data.frame_step == model.frame_step
    assert trainer.max_steps > (model.dynamics_phase.steps if model.dynamics_phase else 0)
    latents = model.encoder(torch.empty(4, 3, *model.frame_size, device="meta"))
    actions = torch.empty(4, data.num_steps, model.frame_step * model.action_dim, device="meta")
    imagined = rollout(model.dynamics, latents[:, None], actions)
    assert imagined.shape == (4, data.num_steps, model.encoder.num_tokens, model.embed_dim)


def test_a_tiny_model_trains_by_the_recipe_of_a_frozen_encoder(tmp_path, capsys):
    episodes = write_dot_world(tmp_path / "episodes")
    tiny = tmp_path / "tiny.yaml"
    tiny.write_text(TINY)
    checkpoint = pretrained(tmp_path / "run")
    flags = [f"--data.root={episodes}", f"--model.encoder.checkpoint={checkpoint}"]
    main(["fit", "-c", str(ROOT / FROZEN), "-c", str(tiny), f"--runs={tmp_path / 'runs'}", "--name=frozen", *flags])
    assert "Finished at step 6" in capsys.readouterr().out
    model = read_world_model(tmp_path / "runs/frozen/version_0/checkpoints/last.ckpt").model
    assert (model.encoder.num_tokens, model.embed_dim) == (1, 96)
    assert not any(weight.requires_grad for weight in model.encoder.parameters())


def test_the_data_takes_the_models_frame_step_and_another_is_refused():
    recipe = "configs/worldmodel/two_rooms.yaml"
    found = parts(recipe, "--model.frame_step=8")
    assert (found.model.frame_step, found.data.frame_step) == (8, 8)
    with pytest.raises(ValueError, match=r"data.frame_step \(8\) must be model.frame_step \(4\); leave it out"):
        parts(recipe, "--data.frame_step=8")
