"""The pixel twin: it learns, sees nothing of what is hidden, and refuses what does not fit."""

import pytest
import torch
from torch.utils.data import DataLoader

from tests.quiet_trainer import quiet_trainer
from vjepa.data.clips.batch import ClipBatch, normalize_clips
from vjepa.grid import TokenGrid, clips_of_tubelets, tubelet_pixels
from vjepa.masking import TubeMask
from vjepa.models import Predictor, VideoEncoder
from vjepa.objectives.pixel_prediction import normalized_tubelets
from vjepa.training import PixelBaseline, Schedule

TUBELET = (2, 4, 4)
CONSTANT = {"learning_rate": Schedule(peak=1e-2), "weight_decay": Schedule(peak=0.04)}


def baseline(**settings) -> PixelBaseline:
    torch.manual_seed(0)
    encoder = VideoEncoder(embed_dim=24, depth=1, num_heads=2, tubelet=TUBELET)
    predictor = Predictor(encoder_dim=24, embed_dim=24, depth=1, num_heads=2, target_dim=96, num_mask_tokens=2)
    return PixelBaseline(encoder, predictor, **(CONSTANT | settings))


def batch(step: int) -> ClipBatch:
    """Clips of smooth waves: what is hidden can be told from what is not."""
    generator = torch.Generator().manual_seed(step)
    phases = 6 * torch.rand(4, 3, 1, 1, 1, generator=generator)
    wave = torch.sin(torch.arange(16.0) / 3 + phases).expand(4, 3, 4, 16, 16)
    ids = torch.stack([torch.randperm(32, generator=generator) for _ in range(4)])
    rows = torch.arange(4)
    return ClipBatch(
        clips=(127 * (wave + 1)).to(torch.uint8),
        masks=[TubeMask(ids[:, :k].sort().values, ids[:, k:].sort().values) for k in (12, 20)],
        labels=rows,
        sources=torch.zeros_like(rows),
        rows=rows,
        positions=rows,
        seconds=torch.ones(4),
        failures=[],
    )


@pytest.mark.slow
def test_the_loss_falls_and_every_part_is_trained(tmp_path):
    model, given = baseline(), batch(0)
    before = {name: parameter.clone() for name, parameter in model.named_parameters() if parameter.requires_grad}
    first = model.step(given).losses["loss"].item()
    trainer = quiet_trainer(tmp_path, max_steps=40, limit_val_batches=0)
    trainer.fit(model, DataLoader([given] * 40, batch_size=None))
    assert model.step(given).losses["loss"].item() < 0.8 * first
    assert all(
        not torch.equal(parameter, before[name]) for name, parameter in model.named_parameters() if name in before
    )
    assert not model.predictor.mask_tokens[1].requires_grad  # no step uses it
    assert {name.partition(".")[0] for name in model.state_dict()} == {"encoder", "predictor"}


def test_the_loss_is_the_mean_over_masks_of_the_squared_error():
    model, given = baseline(), batch(0)
    pixels = normalized_tubelets(tubelet_pixels(normalize_clips(given.clips), TUBELET))
    expected = []
    for mask in given.masks:
        predicted = model.predicted_pixels(normalize_clips(given.clips), mask)
        true = torch.stack([of_clip[ids] for of_clip, ids in zip(pixels, mask.target_ids, strict=True)])
        expected.append((predicted - true).square().mean())
    found = model.step(given).losses
    torch.testing.assert_close(found["loss_mask0"], expected[0])
    torch.testing.assert_close(found["loss"], (expected[0] + expected[1]) / 2)


def test_hidden_pixels_do_not_reach_the_context():
    model, given = baseline(), batch(0)
    mask, grid = given.masks[0], TokenGrid(2, 4, 4)
    clips = normalize_clips(given.clips)
    pixels = tubelet_pixels(clips, TUBELET).clone()
    places = mask.target_ids.unsqueeze(-1).expand(-1, -1, pixels.shape[-1])
    other = clips_of_tubelets(pixels.scatter(1, places, 7.0), grid, TUBELET)
    assert not torch.equal(other, clips)
    assert torch.equal(model.predicted_pixels(other, mask), model.predicted_pixels(clips, mask))


def test_plain_pixels_are_those_that_the_encoder_gets():
    model, clips = baseline(normalize_tubelets=False), normalize_clips(batch(0).clips)
    assert torch.equal(model.target_pixels(clips), tubelet_pixels(clips, TUBELET))


def test_a_predictor_that_is_not_as_wide_as_a_tubelet_is_refused():
    encoder = VideoEncoder(embed_dim=24, depth=1, num_heads=2, tubelet=TUBELET)
    with pytest.raises(ValueError, match=r"target_dim \(24\) .* give --model.predictor.target_dim=96"):
        PixelBaseline(encoder, Predictor(24, embed_dim=24, depth=1, num_heads=2), **CONSTANT)
    with pytest.raises(ValueError, match=r"encoder_dim \(12\) must be the encoder's embed_dim \(24\)"):
        PixelBaseline(encoder, Predictor(12, embed_dim=24, depth=1, num_heads=2, target_dim=96), **CONSTANT)
