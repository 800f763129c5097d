"""Recipes of pretraining: each parses by the real command line, builds, follows its schedule, and has a full header."""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from jsonargparse import Namespace

from vjepa.cli import training
from vjepa.data.clip_data_module import ClipDataModule
from vjepa.masking import ReferenceMultiBlockTubes
from vjepa.training import JEPA

ROOT = Path(__file__).parents[2]
RECIPES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "configs" / "pretrain").glob("*.yaml"))
RELEASED = [recipe for recipe in RECIPES if "/vjepa2_" in recipe]
PRETRAINING = [recipe for recipe in RELEASED if recipe.endswith("_16f.yaml")]
COOLDOWN = [recipe for recipe in RELEASED if recipe.endswith("_cooldown.yaml")]

# Parameters of the released encoders, and of the predictor with its one trained mask token.
ENCODER = {
    "vitl16": {"embed_dim": 1024, "depth": 24, "num_heads": 16, "millions": 303.9},
    "vith16": {"embed_dim": 1280, "depth": 32, "num_heads": 16, "millions": 631.6},
    "vitg16": {"embed_dim": 1408, "depth": 40, "num_heads": 22, "millions": 1012.2},
}
PREDICTOR_OF_LARGE = 22_082_560

by_recipe = pytest.mark.parametrize("recipe", RECIPES)
by_released_recipe = pytest.mark.parametrize("recipe", RELEASED)
by_pretraining_recipe = pytest.mark.parametrize("recipe", PRETRAINING)
by_cooldown_recipe = pytest.mark.parametrize("recipe", COOLDOWN)


class Parts(NamedTuple):
    model: JEPA  # on the meta device: shapes without memory
    data: ClipDataModule
    trainer: Namespace


@cache
def parts(recipe: str, *flags: str) -> Parts:
    """What `vjepa fit -c recipe flags` would run."""
    commands = []
    with pytest.MonkeyPatch.context() as patch, torch.device("meta"):
        patch.setattr(training.TrainingCLI, "instantiate_trainer", lambda command: commands.append(command))
        patch.setattr(training.TrainingCLI, "_run_subcommand", lambda command, name: None)
        training.run_training_command(["fit", "-c", str(ROOT / recipe), *flags])
    (command,) = commands
    return Parts(command.model, command.datamodule, command.config.fit.trainer)


def learning_rate(recipe: str, step: int, *flags: str) -> float:
    """The learning rate at an optimizer step, from 1, of the recipe's own run."""
    found = parts(recipe, *flags)
    return found.model.learning_rate.value(step, found.trainer.max_steps)


def num_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def header(recipe: str) -> str:
    """The comment lines before the first other line."""
    lines = (ROOT / recipe).read_text(encoding="utf-8").splitlines()
    return "\n".join(lines[: next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))])


def test_released_recipes_are_there():
    sizes = [re.search("vit[lhg]16_[0-9]+px", recipe)[0] for recipe in (*PRETRAINING, *COOLDOWN)]
    assert sorted(sizes) == sorted(2 * ["vitl16_256px", "vith16_256px", "vitg16_256px"] + ["vitg16_384px"])


@by_recipe
def test_recipe_parses_and_builds(recipe: str):
    found = parts(recipe)
    assert isinstance(found.model, JEPA)
    assert isinstance(found.data, ClipDataModule)
    assert found.trainer.max_steps > 0, f"{recipe} says no trainer.max_steps, so its schedules have no end"
    assert found.data.grid == found.model.context_encoder.grid_of(
        torch.empty(1, 3, found.data.frames.num_frames, *found.data.crop_size, device="meta")
    )


@by_recipe
@pytest.mark.parametrize("field", ["Paper", "Command", "Hardware", "Hours", "Expect"])
def test_header_says(recipe: str, field: str):
    assert re.search(rf"^# {field}: +\S", header(recipe), re.MULTILINE), (
        f"the header of {recipe} lacks a line '# {field}: ...' (docs: a recipe answers for itself)"
    )


@by_recipe
def test_header_tells_its_own_command_and_where_its_numbers_are_from(recipe: str):
    text = header(recipe)
    assert recipe in text, f"the header of {recipe} must hold the command that runs this very file"
    assert "measured here" in text or "as published" in text, (
        f"the header of {recipe} must say of its numbers 'measured here' or 'as published'"
    )


@by_released_recipe
def test_networks_have_the_released_shape(recipe: str):
    model, data, _ = parts(recipe)
    expected = ENCODER[re.search("vit[lhg]16", recipe)[0]]
    encoder, predictor = model.context_encoder, model.predictor
    assert encoder.embed_dim == expected["embed_dim"]
    assert len(encoder.blocks) == expected["depth"]
    assert encoder.embed_dim // encoder.blocks[0].attn.head_dim == expected["num_heads"]
    assert round(num_parameters(encoder) / 1e6, 1) == expected["millions"]
    assert encoder.tubelet == (2, 16, 16)
    assert (len(predictor.blocks), predictor.embed.out_features, predictor.blocks[0].attn.head_dim) == (12, 384, 32)
    if expected["embed_dim"] == 1024:
        assert num_parameters(predictor) == PREDICTOR_OF_LARGE
    for network in (encoder, predictor):
        assert network.position.kind == "rotary_tiled"
        assert network.position.position_grid is None
        assert network.activation_checkpointing
    assert (data.frames.num_frames // 2, data.crop_size[0] // 16, data.crop_size[1] // 16) == tuple(data.grid)


@by_released_recipe
def test_data_and_masks_are_the_released_ones(recipe: str):
    _, data, trainer = parts(recipe)
    pixels, frames = re.search("_([0-9]+)px_([0-9]+)f", recipe).groups()
    assert (data.crop_size, data.frames.num_frames) == ((int(pixels), int(pixels)), int(frames))
    assert (data.frames.fps, data.frames.frame_step, data.global_batch_size) == (4, None, 3072)
    cuts = data.training_cuts
    assert (cuts.crop_scale, cuts.crop_aspect_ratio, cuts.flip_share) == ((0.3, 1.0), (0.75, 1.35), 0.5)
    assert [type(mask) for mask in data.collate.strategies] == 2 * [ReferenceMultiBlockTubes]
    assert [(mask.num_blocks, mask.ranges) for mask in data.collate.strategies] == [
        (8, ((1.0, 1.0), (0.15, 0.15), (0.75, 1.5))),
        (2, ((1.0, 1.0), (0.7, 0.7), (0.75, 1.5))),
    ]
    assert trainer.precision == "bf16-mixed"
    assert trainer.gradient_clip_val is None


@by_released_recipe
def test_weight_decay_and_momentum_are_constant(recipe: str):
    found = parts(recipe)
    steps = found.trainer.max_steps
    for step in (1, steps // 2, steps):
        assert found.model.weight_decay.value(step, steps) == 0.04
        assert found.model.momentum.value(step, steps) == 0.99925
    assert found.model.loss_exponent == 1.0
    assert not found.model.mask_token_per_mask


@by_pretraining_recipe
def test_learning_rate_of_pretraining_is_the_released_one(recipe: str):
    assert parts(recipe).trainer.max_steps == 240_000
    expected = {1: 1.0003541667e-4, 6000: 3.125e-4, 11_999: 5.2496458333e-4} | dict.fromkeys((12_000, 240_000), 5.25e-4)
    assert {step: learning_rate(recipe, step) for step in expected} == pytest.approx(expected, rel=1e-9)


@by_cooldown_recipe
def test_learning_rate_of_cooldown_ends_where_the_recipe_says(recipe: str):
    assert parts(recipe).trainer.max_steps == 12_000
    assert learning_rate(recipe, 12_000) == 1e-6
    assert learning_rate(recipe, 6000) == pytest.approx((5.25e-4 + 1e-6) / 2)


def test_cooldown_of_released_length_has_the_released_learning_rate():
    expected = {1: 5.2496506667e-4, 6000: 3.154e-4, 12_000: 1.058e-4}
    found = {step: learning_rate(COOLDOWN[0], step, "--model.learning_rate.total_steps=15000") for step in expected}
    assert found == pytest.approx(expected, rel=1e-9)


def test_cooldown_within_the_pretraining_run_has_the_same_learning_rate():
    flags = "--trainer.max_steps=252000", "--model.learning_rate.decay_steps=12000"
    for step in (1, 6000, 12_000):
        assert learning_rate(COOLDOWN[0], 240_000 + step, *flags) == learning_rate(COOLDOWN[0], step)
