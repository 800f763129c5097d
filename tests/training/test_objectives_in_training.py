"""JEPA with other objectives: who gives the targets, what is added to the loss, and that each trains."""

import copy
from pathlib import Path

import pytest
import torch

from tests.training.test_jepa import batch, jepa, train
from vjepa.data.clips.batch import normalize_clips
from vjepa.objectives import BarlowTwins, Projector, SIGReg, VarianceCovariance, latent_prediction_loss
from vjepa.training import Schedule

REGULARIZERS = {
    "vicreg": lambda: VarianceCovariance(projector=Projector(24, 16, 8)),
    "vicreg of places": lambda: VarianceCovariance(over="places"),
    "barlow twins": lambda: BarlowTwins(projector=Projector(24, 16, 8)),
    "sigreg": lambda: SIGReg(projector=Projector(24, 16, 8), num_directions=16),
    "sigreg of places": lambda: SIGReg(over="places", num_directions=16),
}


def steps_of(module, num_steps: int, num_clips: int = 8) -> list[float]:
    """Losses of steps on the same batch, by a plain optimizer."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer, losses, clips = torch.optim.AdamW(trained, 3e-3), [], batch(0, num_clips)
    for _ in range(num_steps):
        loss = module.losses(clips)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", list(REGULARIZERS))
def test_one_encoder_with_a_regularizer_trains(name):
    module = jepa(targets="self", regularizer=REGULARIZERS[name]())
    losses = steps_of(module, 20)
    assert losses[-1] < 0.9 * losses[0]
    assert not [name for name, part in module.named_parameters() if part.requires_grad and part.grad is None]


@pytest.mark.parametrize("name", ["vicreg", "barlow twins", "sigreg"])
def test_a_regularizer_works_beside_a_moving_average_too(name):
    losses = steps_of(jepa(regularizer=REGULARIZERS[name]()), 12)
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("name", ["vicreg", "barlow twins", "sigreg"])
def test_any_regularizer_can_ask_both_parts_of_a_clip_to_agree(name):
    module, clips = jepa(agreement=REGULARIZERS[name]()), batch(0, 8)
    losses, mask = module.losses(clips), clips.masks[0]
    pixels = normalize_clips(clips.clips)
    seen, hidden = (module.context_encoder(pixels, ids) for ids in (mask.context_ids, mask.target_ids))
    expected = module.agreement(seen, hidden, 0)
    prediction = torch.stack([losses[f"loss_mask{number}"] for number in range(len(clips.masks))]).mean()
    torch.testing.assert_close(losses["loss"], prediction + module.agreement.loss(expected))
    values = steps_of(module, 12)
    assert values[-1] < 0.9 * values[0]


def test_agreement_of_another_width_is_refused_before_training():
    with pytest.raises(ValueError, match=r"agreement's projector \(12\) must be the encoder's embed_dim \(24\)"):
        jepa(agreement=VarianceCovariance(projector=Projector(12)))


def test_agreement_over_places_is_refused():
    with pytest.raises(ValueError, match="agreement compares parts of clips"):
        jepa(agreement=REGULARIZERS["vicreg of places"]())


@pytest.mark.parametrize("distance", ["smooth_l1", "cosine"])
def test_other_distances_train(distance):
    module = jepa(distance=distance)
    losses = steps_of(module, 20)
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("distance", ["power", "smooth_l1", "cosine"])
def test_the_distance_is_that_of_the_loss(distance):
    module, clips = jepa(distance=distance), batch(0)
    predicted, targets = torch.randn(2, 5, 24), torch.randn(2, 5, 24)
    expected = latent_prediction_loss(predicted, targets, distance=distance)
    assert torch.equal(module.distance_between(predicted, targets), expected)
    assert module.losses(clips)["loss_mask0"] > 0


def test_its_own_targets_bring_the_encoder_a_gradient():
    """The gradient is that of both sides: with targets cut off it would be another."""
    module, clips = jepa(targets="self"), batch(0)
    module.losses(clips)["loss"].backward()
    both = module.context_encoder.patch_embed.proj.weight.grad.clone()
    average = jepa()  # the same weights, and a target encoder that is still equal
    average.losses(clips)["loss"].backward()
    torch.testing.assert_close(average.losses(clips)["loss"], module.losses(clips)["loss"])
    assert not torch.allclose(both, average.context_encoder.patch_embed.proj.weight.grad)
    assert all(parameter.grad is None for parameter in module.target_encoder.parameters())


def test_with_its_own_targets_the_target_encoder_is_a_copy_after_each_step(tmp_path):
    module = jepa(targets="self", momentum=Schedule(peak=0.9), regularizer=REGULARIZERS["sigreg"]())
    start = copy.deepcopy(module.context_encoder.state_dict())
    train(module, tmp_path, 3)
    for name, tensor in module.context_encoder.state_dict().items():
        assert torch.equal(module.target_encoder.state_dict()[name], tensor)
    assert any(not torch.equal(tensor, start[name]) for name, tensor in module.context_encoder.state_dict().items())
    assert module.encoder_of_targets is module.context_encoder


def test_a_projector_is_trained_by_the_run_and_its_terms_are_logged(tmp_path):
    module = jepa(targets="self", regularizer=REGULARIZERS["vicreg"]())
    before = copy.deepcopy(module.regularizer.state_dict())
    trainer = train(module, tmp_path, 2)
    assert all(not torch.equal(module.regularizer.state_dict()[name], tensor) for name, tensor in before.items())
    names = {f"train/regularizer_{term}" for term in ("invariance", "variance", "covariance")}
    assert names <= set(trainer.callback_metrics)


def test_the_loss_is_the_prediction_and_the_mean_over_masks_of_the_regularizer():
    regularizer, clips = VarianceCovariance(weight=0.7), batch(0, 4)
    module, alone = jepa(targets="self", regularizer=regularizer), jepa(targets="self")
    losses = module.losses(clips)
    terms = {name.removeprefix("regularizer_"): value for name, value in losses.items() if "regularizer_" in name}
    expected = 0.7 * (terms["invariance"] + terms["variance"] + 0.04 * terms["covariance"])
    torch.testing.assert_close(losses["loss"], alone.losses(clips)["loss"] + expected)


def test_nothing_else_keeps_its_own_targets_from_collapse():
    """The sick run: prediction alone makes all clips alike, and with a regularizer it does not."""

    def spread(module) -> float:
        steps_of(module, 20)
        with torch.no_grad():
            pooled = module.encode_targets(batch(0, 8).clips / 255 - 0.5).mean(1)
        return pooled.std(0).mean().item()

    sick = spread(jepa(targets="self"))
    kept = spread(jepa(targets="self", regularizer=VarianceCovariance()))
    assert sick < 0.5 * kept


def test_targets_that_can_not_be_are_refused():
    with pytest.raises(ValueError, match="targets 'none' must be one of average, self"):
        jepa(targets="none")
    with pytest.raises(ValueError, match=r"targets: self takes none from the teacher a\.ckpt; give one of the two"):
        jepa(targets="self", teacher=Path("a.ckpt"))


def test_a_regularizer_that_reaches_no_network_is_refused():
    module = jepa(regularizer=VarianceCovariance(over="places"))
    with pytest.raises(ValueError, match="looks at nothing but targets, and nobody trains what gives them"):
        module.losses(batch(0))
    with torch.no_grad():
        module.losses(batch(0))
