"""The training step's promises: who is trained, who follows, and from what a run starts."""

import copy
import logging
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from tests.quiet_trainer import quiet_trainer
from tests.training.tiny_dot_world import dot_model
from vjepa.data.clips.batch import ClipBatch
from vjepa.interop.loading import read_checkpoint
from vjepa.masking import FutureFrames, NextFrames, TubeMask
from vjepa.models import Predictor, VideoEncoder
from vjepa.objectives import latent_prediction_loss, normalized_targets
from vjepa.training import JEPA, Schedule
from vjepa.training.checkpoint import AtomicCheckpointIO
from vjepa.training.frame_targets import AverageLatents
from vjepa.training.initial_weights import load_initial_weights
from vjepa.training.scheduled_module import parameter_groups
from vjepa.training.targets import Encoders


def jepa(**settings) -> JEPA:
    torch.manual_seed(0)
    encoder = VideoEncoder(embed_dim=24, depth=1, num_heads=2, tubelet=(2, 4, 4))
    predictor = Predictor(encoder_dim=24, embed_dim=24, depth=1, num_heads=2, num_mask_tokens=2)
    defaults = {"learning_rate": Schedule(peak=1e-2), "momentum": Schedule(peak=0.5)}
    return JEPA(encoder, predictor, **(defaults | settings))


def target_tokens(module: JEPA, clips: Tensor) -> Tensor:
    return module.targets(clips, Encoders(module.context_encoder, module.target_encoder, module.num_levels))


def batch(step: int, num_clips: int = 2) -> ClipBatch:
    generator = torch.Generator().manual_seed(step)
    ids = torch.stack([torch.randperm(32, generator=generator) for _ in range(num_clips)])
    rows = torch.arange(num_clips)
    return ClipBatch(
        clips=torch.randint(0, 255, (num_clips, 3, 4, 16, 16), dtype=torch.uint8, generator=generator),
        masks=[TubeMask(ids[:, :k].sort().values, ids[:, k:].sort().values) for k in (8, 20)],
        labels=rows,
        sources=torch.zeros_like(rows),
        rows=rows,
        positions=rows,
        seconds=torch.ones(len(rows)),
        failures=[],
    )


def train(module: JEPA, tmp_path, num_batches: int, callbacks=(), **settings) -> Trainer:
    settings = {"max_epochs": 1} | settings
    trainer = quiet_trainer(tmp_path, callbacks=list(callbacks), **settings)
    trainer.fit(module, DataLoader([batch(step) for step in range(num_batches)], batch_size=None))
    return trainer


def test_only_context_encoder_and_predictor_are_trained():
    module = jepa()
    trained = {name.split(".")[0] for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert trained == {"context_encoder", "predictor"}


def test_no_gradient_reaches_the_target_encoder(monkeypatch):
    module = jepa()
    monkeypatch.setattr(module, "log_dict", lambda *_, **__: None)
    module.training_step(batch(0), 0)["loss"].backward()
    assert all(parameter.grad is None for parameter in module.target_encoder.parameters())
    assert all(parameter.grad is not None for parameter in module.context_encoder.parameters())


def test_mask_tokens_that_no_step_uses_are_frozen():
    assert [token.requires_grad for token in jepa().predictor.mask_tokens] == [True, False]
    assert all(token.requires_grad for token in jepa(mask_token_per_mask=True).predictor.mask_tokens)


def test_each_mask_has_its_own_token_where_asked(monkeypatch):
    module = jepa(mask_token_per_mask=True)
    monkeypatch.setattr(module, "log_dict", lambda *_, **__: None)
    module.training_step(batch(0), 0)["loss"].backward()
    assert all(token.grad.abs().sum() > 0 for token in module.predictor.mask_tokens)


class CountTargetChanges(Callback):
    def __init__(self):
        self.changes = 0

    def on_train_start(self, trainer, module):
        self.before = copy.deepcopy(module.target_encoder.state_dict())

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        now = module.target_encoder.state_dict()
        self.changes += any(not torch.equal(now[name], tensor) for name, tensor in self.before.items())
        self.before = copy.deepcopy(now)


@pytest.mark.parametrize(("accumulate", "changes"), [(1, 4), (2, 2)])
def test_the_target_follows_once_per_optimizer_step(tmp_path, accumulate, changes):
    count = CountTargetChanges()
    train(jepa(), tmp_path, 4, [count], accumulate_grad_batches=accumulate)
    assert count.changes == changes


@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_momentum_0_copies_and_1_keeps(tmp_path, momentum):
    module = jepa(momentum=Schedule(peak=momentum))
    start = copy.deepcopy(module.target_encoder.state_dict())
    train(module, tmp_path, 3)
    expected = module.context_encoder.state_dict() if momentum == 0.0 else start
    for name, tensor in module.target_encoder.state_dict().items():
        assert torch.equal(tensor, expected[name])


def test_schedules_end_with_the_run(tmp_path):
    module = jepa(
        learning_rate=Schedule(start=1e-4, peak=1e-3, end=1e-6, warmup_steps=2),
        weight_decay=Schedule(peak=0.04, end=0.4),
        momentum=Schedule(peak=0.9, end=1.0, decay="linear"),
    )
    trainer = train(module, tmp_path, 6)
    known = trainer.callback_metrics
    assert known["schedule/learning_rate"] == pytest.approx(1e-6)
    assert known["schedule/weight_decay"] == pytest.approx(0.4)
    assert known["schedule/momentum"] == pytest.approx(1.0)


def test_biases_and_scales_do_not_decay(tmp_path):
    module = jepa()
    decaying, others = parameter_groups(module.context_encoder, module.predictor)
    assert decaying["decays"] and not others["decays"]
    assert all(parameter.ndim > 1 for parameter in decaying["params"])
    assert all(parameter.ndim == 1 for parameter in others["params"])
    count = sum(parameter.requires_grad for parameter in module.parameters())
    assert len(decaying["params"]) + len(others["params"]) == count


class AdamAndNorm(Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.fused = trainer.optimizers[0].defaults["fused"]
        gradients = [part.grad for part in module.parameters() if part.grad is not None]
        self.norm = float(torch.nn.utils.get_total_norm(gradients))
        self.largest = max(float(gradient.abs().max()) for gradient in gradients)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_of_a_fused_optimizer_are_clipped(tmp_path, precision):
    seen = AdamAndNorm()
    train(jepa(), tmp_path, 1, [seen], precision=precision)
    bound = seen.norm / 4
    train(jepa(), tmp_path, 1, [seen], gradient_clip_val=bound, precision=precision)
    assert seen.fused
    assert seen.norm == pytest.approx(bound, rel=1e-4)
    train(jepa(), tmp_path, 1, [seen], gradient_clip_val=bound, gradient_clip_algorithm="value", precision=precision)
    assert seen.largest <= bound < seen.norm


def test_a_run_starts_from_initial_weights(tmp_path):
    first = jepa()
    trainer = train(first, tmp_path, 2)
    AtomicCheckpointIO().save_checkpoint({"state_dict": first.state_dict()}, tmp_path / "a.ckpt")
    second = jepa(initial_weights=tmp_path / "a.ckpt", learning_rate=Schedule(peak=0.0))
    second.setup("fit")
    for name, tensor in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], tensor)
    assert trainer.global_step == 2


def test_weights_that_do_not_fit_are_reported_and_not_loaded(tmp_path):
    module = jepa()
    weights = dict(module.state_dict())
    weights["extra"] = torch.zeros(1)
    del weights["predictor.norm.bias"]
    weights["predictor.proj.bias"] = torch.zeros(5)
    AtomicCheckpointIO().save_checkpoint({"state_dict": weights}, tmp_path / "a.ckpt")
    other = jepa()
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(ValueError) as error:
        load_initial_weights(other, tmp_path / "a.ckpt")
    for line in (
        "missing: predictor.norm.bias",
        "unexpected: extra",
        "reshaped: predictor.proj.bias is (5,), must be (24,)",
    ):
        assert line in str(error.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())


class Code:
    def __reduce__(self):
        return logging.error, ("this code ran",)


def test_checkpoints_with_code_in_them_are_refused(tmp_path, caplog):
    torch.save({"state_dict": Code()}, tmp_path / "code.ckpt")
    with pytest.raises(ValueError, match="holds more than tensors and plain values, so it was not loaded"):
        read_checkpoint(tmp_path / "code.ckpt")
    assert "this code ran" not in caplog.text


@pytest.mark.parametrize("content", [b"", b"text", "cut"])
def test_files_that_are_no_checkpoints_are_refused(tmp_path, content):
    path = tmp_path / "a.ckpt"
    if content == "cut":
        torch.save({"state_dict": {"a": torch.zeros(1000)}}, path)
        content = path.read_bytes()[:2000]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a.ckpt is not a checkpoint .or was cut short."):
        read_checkpoint(path)


def test_a_kill_while_saving_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    path, write = tmp_path / "last.ckpt", AtomicCheckpointIO()
    write.save_checkpoint({"step": 1}, path)

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", die)
    with pytest.raises(KeyboardInterrupt):
        write.save_checkpoint({"step": 2}, path)
    assert read_checkpoint(path) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_predictor_of_another_width_is_refused():
    with pytest.raises(ValueError, match=r"encoder_dim .192. must be the encoder's embed_dim .24."):
        JEPA(VideoEncoder(embed_dim=24, depth=1, num_heads=2), Predictor(depth=1))


def test_the_loss_is_its_formula_in_float64():
    predicted, tokens = torch.randn(2, 5, 8), 3 + 7 * torch.randn(2, 5, 8)
    target = normalized_targets(tokens)
    wide = tokens.double()
    by_hand = (wide - wide.mean(-1, keepdim=True)) / (wide.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    for exponent in (1.0, 2.0):
        expected = ((predicted.double() - by_hand).abs() ** exponent).mean() / exponent
        assert latent_prediction_loss(predicted, target, exponent).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("warmup", [0, 3])
def test_schedules_have_no_step_outside_their_range(warmup):
    schedule = Schedule(peak=1.0, start=0.1, end=0.2, warmup_steps=warmup)
    values = [schedule.value(step, 10) for step in range(1, 15)]
    assert max(values) <= 1.0 and min(values) >= 0.1
    assert values[9] == values[-1] == pytest.approx(0.2)


def test_weights_in_half_precision_are_refused():
    for dtype in (torch.float16, torch.bfloat16):
        with pytest.raises(ValueError, match=r"patch_embed.* must be float32; give --trainer.precision=bf16-mixed"):
            jepa().to(dtype).on_fit_start()
    jepa().on_fit_start()


def test_momentum_has_its_first_value_after_the_first_step_and_its_end_after_the_last():
    schedule = Schedule(peak=0.9, end=1.0, decay="linear")
    for module in (jepa(momentum=schedule), dot_model(targets=AverageLatents(), momentum=schedule)):
        values = [module.ema_momentum(step, 11) for step in (1, 6, 11)]
        assert values == pytest.approx([0.9, 0.95, 1.0])


@pytest.mark.parametrize(
    ("encoder", "predictor", "said"),
    [
        ({"per_frame": True}, {"depth": 1, "memory_width": 8}, "the predictor needs memory_width and a depth of 0"),
        ({"per_frame": True}, {"depth": 0}, "the predictor needs memory_width and a depth of 0"),
        ({}, {"depth": 0, "memory_width": 8}, "per_frame: true or attention: causal"),
        ({"per_frame": True}, {"depth": 0, "memory_width": 8}, None),
        ({"attention": "causal"}, {"depth": 0, "memory_width": 8}, None),
    ],
)
def test_masks_that_show_every_frame_need_networks_that_look_back(encoder, predictor, said):
    module = JEPA(
        VideoEncoder(embed_dim=24, depth=1, num_heads=2, **encoder),
        Predictor(24, 24, num_heads=2, **predictor),
    )
    module.trainer = SimpleNamespace(datamodule=SimpleNamespace(masks=[FutureFrames(), NextFrames()]))
    with nullcontext() if said is None else pytest.raises(ValueError, match=said):
        module.setup("fit")
