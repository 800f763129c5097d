"""Runs start from models of any format, and learn from a teacher of any format."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from tests.interop.tiny_models import part_of, tiny_model
from tests.quiet_trainer import quiet_trainer
from tests.training.test_jepa import batch, target_tokens
from vjepa.interop.native import write_native
from vjepa.interop.portable import PortableModel
from vjepa.interop.released import write_released
from vjepa.models import Predictor, VideoEncoder
from vjepa.training import JEPA, Schedule, Teacher
from vjepa.training.initial_weights import load_initial_weights

SIZES = {"embed_dim": 24, "depth": 1, "num_heads": 2, "tubelet": (2, 4, 4)}


def run(num_mask_tokens: int = 1, position: str = "rotary_tiled", **settings) -> JEPA:
    torch.manual_seed(1)
    encoder = VideoEncoder(size="tiny", depth=1, position=position)
    predictor = Predictor(encoder_dim=192, depth=1, position=position, num_mask_tokens=num_mask_tokens)
    return JEPA(encoder, predictor, **settings)


def test_a_run_starts_from_a_released_file(tmp_path):
    model, module = tiny_model("V-JEPA 2"), run()
    write_released(model, tmp_path / "latest.pt")
    notes = load_initial_weights(module, tmp_path / "latest.pt")
    for part in (module.context_encoder, module.target_encoder):
        assert all(torch.equal(tensor, model.encoder.weights[name]) for name, tensor in part.state_dict().items())
    assert torch.equal(module.predictor.mask_tokens[0], model.predictor.weights["mask_tokens.0"])
    assert torch.equal(module.predictor.proj.weight, model.predictor.weights["proj.weight"])
    assert "3 mask tokens, 2 of them trained, became 1" in notes


def test_trained_and_moving_average_encoder_are_both_taken(tmp_path):
    model = tiny_model("V-JEPA 2")
    write_released(model, tmp_path / "latest.pt")
    content = torch.load(tmp_path / "latest.pt", weights_only=True)
    content["encoder"] = {name: tensor + 1 for name, tensor in content["target_encoder"].items()}
    torch.save(content, tmp_path / "latest.pt")
    module = run()
    load_initial_weights(module, tmp_path / "latest.pt")
    norm = model.encoder.weights["norm.weight"]
    assert torch.equal(module.context_encoder.norm.weight, norm + 1)
    assert torch.equal(module.target_encoder.norm.weight, norm)


@pytest.mark.parametrize("num_mask_tokens", [2, 5])
def test_trained_mask_tokens_come_first(tmp_path, num_mask_tokens):
    model = tiny_model("V-JEPA 2")  # of its three tokens the second is zero
    write_released(model, tmp_path / "latest.pt")
    module = run(num_mask_tokens)
    load_initial_weights(module, tmp_path / "latest.pt")
    for number, name in enumerate(("mask_tokens.0", "mask_tokens.2")):
        assert torch.equal(module.predictor.mask_tokens[number], model.predictor.weights[name])
    assert not any(token.any() for token in module.predictor.mask_tokens[2:])


def test_a_file_without_a_predictor_says_that_it_begins_anew(tmp_path):
    write_native(replace(tiny_model("V-JEPA 2"), predictor=None), tmp_path / "model")
    module = run()
    before = copy.deepcopy(module.predictor.state_dict())
    notes = load_initial_weights(module, tmp_path / "model")
    assert any("holds no predictor: it starts untrained" in note for note in notes)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.predictor.state_dict().items())


def test_the_same_weights_at_other_positions_are_refused(tmp_path):
    write_released(tiny_model("V-JEPA 2"), tmp_path / "latest.pt")
    with pytest.raises(ValueError, match=r"has position rotary_tiled, this run's has rotary; make them equal"):
        load_initial_weights(run(position="rotary"), tmp_path / "latest.pt")


def teacher(tmp_path, width: int = 48):
    """A folder of a model that is wider than its student."""
    settings = SIZES | {"embed_dim": width, "depth": 2}
    torch.manual_seed(2)
    write_native(PortableModel("vjepa", part_of(VideoEncoder, **settings)), tmp_path / "teacher")
    return tmp_path / "teacher"


def student(**settings) -> JEPA:
    torch.manual_seed(3)
    predictor = Predictor(encoder_dim=24, embed_dim=24, depth=1, num_heads=2, target_dim=48)
    defaults = {"learning_rate": Schedule(peak=1e-2), "momentum": Schedule(peak=0.5)}
    return JEPA(VideoEncoder(**SIZES), predictor, **(defaults | settings))


def test_a_teacher_gives_the_targets_and_never_changes(tmp_path):
    module = student(targets=Teacher(teacher(tmp_path)))
    module.setup("fit")
    before = copy.deepcopy(module.targets.encoder.state_dict())
    averaged = copy.deepcopy(module.target_encoder.state_dict())
    assert target_tokens(module, torch.randn(2, 3, 4, 16, 16)).shape == (2, 32, 48)
    trainer = quiet_trainer(tmp_path, max_epochs=1)
    trainer.fit(module, DataLoader([batch(step) for step in range(3)], batch_size=None))
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.targets.encoder.state_dict().items())
    moved = module.target_encoder.state_dict()
    assert any(not torch.equal(tensor, averaged[name]) for name, tensor in moved.items())


def test_checkpoints_leave_the_teacher_out_and_a_run_goes_on_with_it(tmp_path):
    folder = teacher(tmp_path)
    first, trainer = student(targets=Teacher(folder)), quiet_trainer(tmp_path, max_steps=2)
    data: DataLoader[Any] = DataLoader([batch(step) for step in range(4)], batch_size=None)
    trainer.fit(first, data)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    saved = torch.load(tmp_path / "half.ckpt", weights_only=True)["state_dict"]
    assert saved and not any(name.startswith("targets.") for name in saved)
    second = student(targets=Teacher(folder))
    quiet_trainer(tmp_path, max_steps=4).fit(second, data, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    teacher_now = second.targets.encoder.state_dict()
    assert all(torch.equal(tensor, teacher_now[name]) for name, tensor in first.targets.encoder.state_dict().items())


def test_a_predictor_of_another_width_than_the_teacher_is_refused(tmp_path):
    module = student(targets=Teacher(teacher(tmp_path, width=72)))
    with pytest.raises(ValueError, match=r"target_dim \(48\) must be the width of the teacher's tokens, 1 level"):
        module.setup("fit")
