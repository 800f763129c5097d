"""Recipes of pretraining: each parses by the real command line, builds, follows its schedule, and has a full header."""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from jsonargparse import Namespace

from vjepa.cli import training
from vjepa.data.clips.data_module import ClipDataModule
from vjepa.masking import ReferenceMultiBlockTubes
from vjepa.training import JEPA, ImageSelfDistillation, PixelBaseline, Teacher

ROOT = Path(__file__).parents[2]
RECIPES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "configs" / "pretrain").glob("*.yaml"))
SIZES = re.compile("vit[lhbgG]16_[0-9]+px")
V1 = [recipe for recipe in RECIPES if "/vjepa1_" in recipe]
V2_1 = [recipe for recipe in RECIPES if "/vjepa2_1_" in recipe and SIZES.search(recipe)]
RELEASED = [recipe for recipe in RECIPES if "/vjepa2_" in recipe and SIZES.search(recipe) and recipe not in V2_1]
PRETRAINING = [recipe for recipe in RELEASED if recipe.endswith("_16f.yaml")]
COOLDOWN = [recipe for recipe in RELEASED if recipe.endswith("_cooldown.yaml")]
DISTILLED = "configs/pretrain/vjepa2_1_vitl16_distilled_from_vitG16.yaml"
CONTINUED = "configs/pretrain/vjepa2_vitl16_continued.yaml"

# Parameters of the released encoders, and of the predictor with its one trained mask token.
ENCODER = {
    "vitl16": {"embed_dim": 1024, "depth": 24, "num_heads": 16, "millions": 303.9},
    "vith16": {"embed_dim": 1280, "depth": 32, "num_heads": 16, "millions": 631.6},
    "vitg16": {"embed_dim": 1408, "depth": 40, "num_heads": 22, "millions": 1012.2},
}
PREDICTOR_OF_LARGE = 22_082_560
# V-JEPA 2.1: encoder, and the released predictors of ViT-g and ViT-G, which hold seven more mask tokens.
ENCODER_2_1 = {
    "vitb16": {"embed_dim": 768, "levels": (2, 5, 8, 11), "millions": 86.83, "predictor": None},
    "vitl16": {"embed_dim": 1024, "levels": (5, 11, 17, 23), "millions": 304.68, "predictor": None},
    "vitg16": {"embed_dim": 1408, "levels": (9, 19, 29, 39), "millions": 1013.3, "predictor": 55.4},
    "vitG16": {"embed_dim": 1664, "levels": (11, 23, 37, 47), "millions": 1845.2, "predictor": 59.43},
}
BLOCKS = [(8, ((1.0, 1.0), (0.15, 0.15), (0.75, 1.5))), (2, ((1.0, 1.0), (0.7, 0.7), (0.75, 1.5)))]
IMAGE_BLOCKS = [(10, ((1.0, 1.0), (0.15, 0.15), (0.75, 1.5)))]

by_recipe = pytest.mark.parametrize("recipe", RECIPES)
by_released_recipe = pytest.mark.parametrize("recipe", RELEASED)
by_pretraining_recipe = pytest.mark.parametrize("recipe", PRETRAINING)
by_cooldown_recipe = pytest.mark.parametrize("recipe", COOLDOWN)
by_recipe_of_v1 = pytest.mark.parametrize("recipe", V1)
by_recipe_of_v2_1 = pytest.mark.parametrize("recipe", V2_1)


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


def millions(module: torch.nn.Module, decimals: int) -> float:
    return round(num_parameters(module) / 1e6, decimals)


def blocks(strategies: list) -> list[tuple]:
    assert {type(mask) for mask in strategies} == {ReferenceMultiBlockTubes}
    return [(mask.num_blocks, mask.ranges) for mask in strategies]


def header(recipe: str) -> str:
    """The comment lines before the first other line."""
    lines = (ROOT / recipe).read_text(encoding="utf-8").splitlines()
    return "\n".join(lines[: next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))])


def test_released_recipes_are_there():
    def sizes(recipes: list[str]) -> list[str]:
        return sorted(SIZES.search(recipe)[0] for recipe in recipes)

    assert sizes(RELEASED) == sorted(2 * ["vitl16_256px", "vith16_256px", "vitg16_256px"] + ["vitg16_384px"])
    assert sizes(V1) == sorted(["vitl16_224px", "vith16_224px", "vith16_384px"])
    assert sizes(V2_1) == sorted(2 * ["vitb16_256px", "vitl16_256px", "vitg16_256px", "vitG16_256px"])
    assert {DISTILLED, CONTINUED} < set(RECIPES)


@pytest.mark.slow
@by_recipe
def test_recipe_parses_and_builds(recipe: str):
    found = parts(recipe)
    assert isinstance(found.model, JEPA | PixelBaseline | ImageSelfDistillation)
    assert isinstance(found.data, ClipDataModule)
    assert found.trainer.max_steps > 0, f"{recipe} says no trainer.max_steps, so its schedules have no end"
    assert found.data.grid == found.model.get_encoder("context").grid_of(
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
    assert millions(encoder, 1) == expected["millions"]
    assert encoder.tubelet == (2, 16, 16)
    assert (len(predictor.blocks), predictor.embed.out_features, predictor.blocks[0].attn.head_dim) == (12, 384, 32)
    if expected["embed_dim"] == 1024:
        assert num_parameters(predictor) == PREDICTOR_OF_LARGE
    for network in (encoder, predictor):
        assert network.position.kind == "rotary_tiled"
        assert network.position.position_grid is None
        assert network.blocks[0].activation_checkpointing
    assert (data.frames.num_frames // 2, data.crop_size[0] // 16, data.crop_size[1] // 16) == tuple(data.grid)


@by_released_recipe
def test_data_and_masks_are_the_released_ones(recipe: str):
    _, data, trainer = parts(recipe)
    pixels, frames = re.search("_([0-9]+)px_([0-9]+)f", recipe).groups()
    assert (data.crop_size, data.frames.num_frames) == ((int(pixels), int(pixels)), int(frames))
    assert (data.frames.fps, data.frames.frame_step, data.global_batch_size) == (4, None, 3072)
    cuts = data.training_cuts
    assert (cuts.crop_scale, cuts.crop_aspect_ratio, cuts.flip_probability) == ((0.3, 1.0), (0.75, 1.35), 0.5)
    assert blocks(data.collate.strategies) == BLOCKS
    assert trainer.precision == "bf16-mixed"
    assert trainer.gradient_clip_val is None


@by_released_recipe
def test_weight_decay_and_momentum_are_constant(recipe: str):
    found = parts(recipe)
    steps = found.trainer.max_steps
    for step in (1, steps // 2, steps):
        assert found.model.weight_decay.value(step, steps) == 0.04
        assert found.model.momentum.value(step, steps) == 0.99925
    assert found.model.prediction.exponent == 1.0
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


@by_recipe_of_v1
def test_recipe_of_v_jepa_1_is_the_released_one(recipe: str):
    model, data, trainer = parts(recipe)
    encoder, predictor = model.context_encoder, model.predictor
    assert millions(encoder, 1) == ENCODER[re.search("vit[lh]16", recipe)[0]]["millions"]
    assert (len(predictor.blocks), predictor.embed.out_features, predictor.blocks[0].attn.head_dim) == (12, 384, 24)
    assert [network.position.kind for network in (encoder, predictor)] == 2 * ["sincos_uniform"]
    assert model.mask_token_per_mask
    assert [token.requires_grad for token in predictor.mask_tokens] == [True, True]
    assert (data.frames.num_frames, data.frames.frame_step, data.frames.fps) == (16, 4, None)
    assert data.crop_size == (2 * (384,) if "384px" in recipe else 2 * (224,))
    assert data.global_batch_size == (2400 if "384px" in recipe else 3072)
    assert blocks(data.collate.strategies) == BLOCKS
    assert (trainer.max_steps, trainer.gradient_clip_val, trainer.precision) == (90_000, 10.0, "bf16-mixed")


@by_recipe_of_v1
def test_schedules_of_v_jepa_1_are_the_released_ones(recipe: str):
    model, steps = parts(recipe).model, 90_000
    expected = {1: 2.0003541667e-4, 6000: 4.125e-4, 12_000: 6.25e-4, 50_000: 4.2957577e-4, 90_000: 7.5042224e-5}
    assert {step: learning_rate(recipe, step) for step in expected} == pytest.approx(expected, rel=1e-7)
    decay = {1: 0.0400000001, 45_000: 0.1643769, 90_000: 0.3656231}
    assert {step: model.weight_decay.value(step, steps) for step in decay} == pytest.approx(decay, rel=1e-6)
    momentum = {0: 0.998, 45_000: 0.9988, 89_999: 0.99959998}  # steps of the target encoder count from 0
    assert {step: model.momentum.value(step, steps - 1) for step in momentum} == pytest.approx(momentum, rel=1e-8)


@by_recipe_of_v2_1
def test_networks_of_v_jepa_2_1_have_the_released_shape(recipe: str):
    model = parts(recipe).model
    size = re.search("vit[blgG]16", recipe)[0]
    expected = ENCODER_2_1[size]
    encoder, predictor = model.context_encoder, model.predictor
    assert (encoder.embed_dim, encoder.output_levels) == (expected["embed_dim"], expected["levels"])
    assert encoder.image_tokenizer
    assert encoder.modality is not None
    decimals = 1 if expected["millions"] > 1000 else 2
    assert millions(encoder, decimals) == expected["millions"]
    assert (len(predictor.blocks), predictor.blocks[0].attn.head_dim) == (12 if size == "vitb16" else 24, 32)
    assert predictor.target_dim == 4 * expected["embed_dim"]
    if expected["predictor"]:
        assert (num_parameters(predictor) + 7 * 384) / 1e6 == pytest.approx(expected["predictor"], abs=0.05)
    for network in (encoder, predictor):
        assert network.position.kind == "rotary"
        assert tuple(network.position.position_grid) == (1, 16, 16)


@by_recipe_of_v2_1
def test_data_and_masks_of_v_jepa_2_1_are_the_released_ones(recipe: str):
    _, data, trainer = parts(recipe)
    assert (data.crop_size, data.frames.num_frames) == ((256, 256), 64 if recipe in cooldowns_of_v2_1() else 16)
    assert blocks(data.collate.strategies) == BLOCKS
    assert blocks(data.collate.image_strategies) == IMAGE_BLOCKS
    weights = {source.manifest: source.weight for source in data.training_sources}
    of_videos = [weights[f"data/{name}.csv"] / 0.5 for name in ("k710_train", "ssv2_train", "howto100m")]
    assert of_videos == pytest.approx([0.335, 0.1, 0.565])
    assert [source.num_frames for source in data.training_sources] == [None, None, None, 1]
    # On average a step has the released 3,072 videos, and images weigh as much.
    assert data.global_batch_size * trainer.accumulate_grad_batches * sum(of_videos) / 2 == pytest.approx(3072)


@by_recipe_of_v2_1
def test_schedules_of_v_jepa_2_1_are_the_released_ones(recipe: str):
    model, _, trainer = parts(recipe)
    if recipe in cooldowns_of_v2_1():
        assert trainer.max_steps == 12_000
        assert learning_rate(recipe, 6000) == pytest.approx((6e-4 + 1e-6) / 2)
        assert learning_rate(recipe, 12_000) == 1e-6
        context = {0: 0.5, 12_000: 0.5}
    else:
        assert trainer.max_steps == 300_000
        assert learning_rate(recipe, 6000) == pytest.approx(3.5e-4)
        assert {learning_rate(recipe, step) for step in (12_000, 300_000)} == {6e-4}
        context = {15_000: 0.0, 22_500: 0.25, 30_000: 0.5, 300_000: 0.5}
    assert model.objective["context"].by_distance == (recipe not in cooldowns_of_v2_1())
    for is_image in (False, True):
        assert {step: model.objective["context"].weight(step, is_image) for step in context} == pytest.approx(context)
    assert (model.momentum.value(7, trainer.max_steps), model.weight_decay.value(7, trainer.max_steps)) == (
        0.99925,
        0.04,
    )


def cooldowns_of_v2_1() -> list[str]:
    return [recipe for recipe in V2_1 if recipe.endswith("_cooldown.yaml")]


def test_cooldown_of_v_jepa_2_1_of_released_length_has_the_released_learning_rate():
    expected = {1: 5.9996006667e-4, 6000: 3.604e-4, 12_000: 1.208e-4}
    recipe, flag = cooldowns_of_v2_1()[0], "--model.learning_rate.total_steps=15000"
    assert {step: learning_rate(recipe, step, flag) for step in expected} == pytest.approx(expected, rel=1e-9)


def test_the_distilled_student_has_the_released_shape():
    model = parts(DISTILLED).model
    assert millions(model.context_encoder, 2) == ENCODER_2_1["vitl16"]["millions"]
    assert (num_parameters(model.predictor) + 7 * 384) / 1e6 == pytest.approx(22.97, abs=0.005)
    assert (model.predictor.num_levels, model.predictor.target_dim) == (1, ENCODER_2_1["vitG16"]["embed_dim"])
    assert isinstance(model.targets, Teacher)


def test_continued_pretraining_goes_on_where_the_released_cooldown_ended():
    model, data, trainer = parts(CONTINUED)
    assert num_parameters(model.predictor) == PREDICTOR_OF_LARGE
    assert model.context_encoder.position.kind == "rotary_tiled"
    released_end, released_batch = 1.058e-4, 3072
    rates = [learning_rate(CONTINUED, step) for step in range(1, trainer.max_steps + 1, 250)]
    assert max(rates) == pytest.approx(released_end * (data.global_batch_size / released_batch) ** 0.5, rel=0.1)
    assert learning_rate(CONTINUED, trainer.max_steps) == 1e-6
