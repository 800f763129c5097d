"""V-JEPA 2.1 and distillation in the one module: levels, images, context prediction, a teacher's targets."""

import pytest
import torch
from torch.utils.data import DataLoader

from tests.quiet_trainer import quiet_trainer
from tests.training.test_jepa import batch
from vjepa.data.clips.batch import ClipBatch
from vjepa.grid import TokenGrid
from vjepa.masking import TubeMask
from vjepa.models import Predictor, VideoEncoder
from vjepa.objectives import ContextPrediction, LatentPrediction, distance_to_hidden
from vjepa.training import JEPA, Schedule

LEVELS = {"output_levels": (0, 2), "image_tokenizer": True, "modality_embeddings": True}


def encoder(width: int = 24, **settings) -> VideoEncoder:
    return VideoEncoder(**({"embed_dim": width, "depth": 3, "num_heads": 2, "tubelet": (2, 4, 4)} | settings))


def predictor(**settings) -> Predictor:
    return Predictor(**({"encoder_dim": 24, "embed_dim": 24, "depth": 1, "num_heads": 2} | settings))


def several_levels(**settings) -> JEPA:
    torch.manual_seed(0)
    level_predictor = predictor(num_levels=2, predict_context=True, modality_embeddings=True)
    terms = {"prediction": LatentPrediction(), "context": ContextPrediction(ramp=None)}
    defaults = {"terms": terms, "learning_rate": Schedule(peak=1e-2)}
    return JEPA(encoder(**LEVELS), level_predictor, **(defaults | settings))


def images(step: int) -> ClipBatch:
    generator = torch.Generator().manual_seed(step)
    ids = torch.stack([torch.randperm(16, generator=generator) for _ in range(2)])
    mask = TubeMask(ids[:, :6].sort().values, ids[:, 6:].sort().values)
    pixels = torch.randint(0, 255, (2, 3, 1, 16, 16), dtype=torch.uint8, generator=generator)
    return batch(step)._replace(clips=pixels, masks=[mask])


@pytest.mark.parametrize("make", [batch, images])
@pytest.mark.parametrize("settings", [{}, {"terms": None}])
def test_a_step_reaches_every_trained_parameter_whatever_it_sees(make, settings):
    # A parameter without a gradient would stop a run on several ranks.
    module = several_levels(**settings)
    module.step(make(0)).losses["loss"].backward()
    assert not [name for name, part in module.named_parameters() if part.requires_grad and part.grad is None]


def test_videos_and_images_are_trained_in_turn(tmp_path):
    module = several_levels()
    before = {name: tensor.clone() for name, tensor in module.context_encoder.state_dict().items()}
    trainer = quiet_trainer(tmp_path, max_epochs=1)
    trainer.fit(module, DataLoader([batch(0), images(1), batch(2), images(3)], batch_size=None))
    after = module.context_encoder.state_dict()
    assert trainer.global_step == 4
    assert all(not torch.equal(after[name], tensor) for name, tensor in before.items())


def test_the_context_loss_comes_in_over_its_ramp():
    objective = ContextPrediction(video_weight=0.5, image_weight=0.7, ramp=(100, 200))
    assert [objective.weight(step, is_image=False) for step in (0, 100, 150, 200, 9999)] == [0, 0, 0.25, 0.5, 0.5]
    assert objective.weight(200, is_image=True) == 0.7
    assert ContextPrediction(ramp=None).weight(0, is_image=False) == 0.5


def test_its_weight_scales_the_loss():
    clips = batch(0)
    module, without = several_levels(), several_levels(terms=None)
    losses, alone = module.step(clips).losses, without.step(clips).losses
    torch.testing.assert_close(losses["loss"], alone["loss"] + 0.5 * losses["context"])


def test_distances_are_those_of_a_loop():
    grid, mask = TokenGrid(2, 4, 4), batch(0).masks[0]
    context, hidden = (grid.positions(ids).float() for ids in mask)
    plain = [
        [min(float((here - there).norm()) for there in others) ** 0.5 for here in visible]
        for visible, others in zip(context, hidden, strict=True)
    ]
    torch.testing.assert_close(distance_to_hidden(mask, grid), torch.tensor(plain))


def test_a_sum_of_levels_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"num_levels \(3\) must be 1 or the number of the encoder's output_levels"):
        JEPA(encoder(**LEVELS), predictor(num_levels=3))
    with pytest.raises(ValueError, match="needs a predictor with predict_context"):
        JEPA(encoder(), predictor(), terms={"context": ContextPrediction()})
    with pytest.raises(ValueError, match=r"target_dim \(40\) must be num_levels \* embed_dim \(24\)"):
        JEPA(encoder(), predictor(target_dim=40))


@pytest.mark.parametrize("levels", [(0, 1), (2, 0), (-1, 2), ()])
def test_levels_that_do_not_end_with_the_last_block_are_refused(levels):
    with pytest.raises(ValueError, match="must be rising numbers of blocks from 0 that end with the last one, 2"):
        encoder(output_levels=levels)


def test_a_level_without_a_norm_is_refused():
    with pytest.raises(ValueError, match=r"levels \[1\] do not exist; this encoder has levels \[0, 2\]"):
        encoder(**LEVELS).forward_levels(torch.randn(1, 3, 4, 16, 16), [1])
