"""JEPA with other objectives: who gives the targets, what is added to the loss, and that each trains."""

import copy

import pytest
import torch

from tests.training.test_jepa import batch, jepa, target_tokens, train
from vjepa.data.clips.batch import normalize_clips
from vjepa.objectives import (
    Agreement,
    BarlowTwins,
    LatentPrediction,
    Projector,
    Regularization,
    SIGReg,
    VarianceCovariance,
    latent_prediction_loss,
    normalized_targets,
)
from vjepa.training import OwnTokens, Schedule

REGULARIZERS = {
    "vicreg": lambda: VarianceCovariance(projector=Projector(24, 16, 8)),
    "vicreg of places": lambda: VarianceCovariance(over="places"),
    "barlow twins": lambda: BarlowTwins(projector=Projector(24, 16, 8)),
    "sigreg": lambda: SIGReg(projector=Projector(24, 16, 8), num_directions=16),
    "sigreg of places": lambda: SIGReg(over="places", num_directions=16),
}


def regularized(regularizer):
    return {"prediction": LatentPrediction(), "regularizer": Regularization(regularizer)}


def agreeing(regularizer):
    return {"prediction": LatentPrediction(), "agreement": Agreement(regularizer)}


def steps_of(module, num_steps: int, num_clips: int = 8) -> list[float]:
    """Losses of steps on the same batch, by a plain optimizer."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer, losses, clips = torch.optim.AdamW(trained, 3e-3), [], batch(0, num_clips)
    for _ in range(num_steps):
        loss = module.step(clips).losses["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", list(REGULARIZERS))
def test_one_encoder_with_a_regularizer_trains(name):
    module = jepa(targets=OwnTokens(), terms=regularized(REGULARIZERS[name]()))
    losses = steps_of(module, 20)
    assert losses[-1] < 0.9 * losses[0]
    assert not [name for name, part in module.named_parameters() if part.requires_grad and part.grad is None]


@pytest.mark.parametrize("name", ["vicreg", "barlow twins", "sigreg"])
def test_a_regularizer_works_beside_a_moving_average_too(name):
    losses = steps_of(jepa(terms=regularized(REGULARIZERS[name]())), 12)
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("name", ["vicreg", "barlow twins", "sigreg"])
def test_any_regularizer_can_ask_both_parts_of_a_clip_to_agree(name):
    module, clips = jepa(terms=agreeing(REGULARIZERS[name]())), batch(0, 8)
    losses, mask = module.step(clips).losses, clips.masks[0]
    pixels = normalize_clips(clips.clips)
    seen, hidden = (module.context_encoder(pixels, ids) for ids in (mask.context_ids, mask.target_ids))
    expected = module.objective["agreement"].regularizer(seen, hidden, 0)
    prediction = torch.stack([losses[f"loss_mask{number}"] for number in range(len(clips.masks))]).mean()
    torch.testing.assert_close(losses["loss"], prediction + expected.loss)
    values = steps_of(module, 12)
    assert values[-1] < 0.9 * values[0]


def test_agreement_of_another_width_is_refused_before_training():
    with pytest.raises(ValueError, match=r"agreement's projector \(12\) must be the encoder's embed_dim \(24\)"):
        jepa(terms=agreeing(VarianceCovariance(projector=Projector(12))))


def test_agreement_over_places_is_refused():
    with pytest.raises(ValueError, match="agreement compares parts of clips"):
        jepa(terms=agreeing(REGULARIZERS["vicreg of places"]()))


@pytest.mark.parametrize("distance", ["smooth_l1", "cosine"])
def test_other_distances_train(distance):
    module = jepa(terms={"prediction": LatentPrediction(distance=distance)})
    losses = steps_of(module, 20)
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("distance", ["power", "smooth_l1", "cosine"])
def test_the_distance_is_that_of_the_loss(distance):
    module, clips = jepa(terms={"prediction": LatentPrediction(distance=distance)}), batch(0)
    predicted, targets = torch.randn(2, 5, 24), torch.randn(2, 5, 24)
    expected = latent_prediction_loss(predicted, targets, distance=distance)
    assert torch.equal(module.prediction.token_losses(predicted, targets).mean(), expected)
    assert module.step(clips).losses["loss_mask0"] > 0


def test_its_own_targets_bring_the_encoder_a_gradient():
    """The gradient is that of both sides: with targets cut off it would be another."""
    module, clips = jepa(targets=OwnTokens()), batch(0)
    module.step(clips).losses["loss"].backward()
    both = module.context_encoder.patch_embed.proj.weight.grad.clone()
    average = jepa()  # the same weights, and a target encoder that is still equal
    average.step(clips).losses["loss"].backward()
    torch.testing.assert_close(average.step(clips).losses["loss"], module.step(clips).losses["loss"])
    assert not torch.allclose(both, average.context_encoder.patch_embed.proj.weight.grad)
    assert all(parameter.grad is None for parameter in module.target_encoder.parameters())


def test_with_its_own_targets_the_target_encoder_is_a_copy_after_each_step(tmp_path):
    module = jepa(targets=OwnTokens(), momentum=Schedule(peak=0.9), terms=regularized(REGULARIZERS["sigreg"]()))
    start = copy.deepcopy(module.context_encoder.state_dict())
    train(module, tmp_path, 3)
    for name, tensor in module.context_encoder.state_dict().items():
        assert torch.equal(module.target_encoder.state_dict()[name], tensor)
    assert any(not torch.equal(tensor, start[name]) for name, tensor in module.context_encoder.state_dict().items())


def test_a_projector_is_trained_by_the_run_and_its_terms_are_logged(tmp_path):
    module = jepa(targets=OwnTokens(), terms=regularized(REGULARIZERS["vicreg"]()))
    before = copy.deepcopy(module.objective["regularizer"].state_dict())
    trainer = train(module, tmp_path, 2)
    assert all(
        not torch.equal(module.objective["regularizer"].state_dict()[name], tensor) for name, tensor in before.items()
    )
    names = {f"train/regularizer_{term}" for term in ("invariance", "variance", "covariance")}
    assert names <= set(trainer.callback_metrics)


def test_the_loss_is_the_prediction_and_the_mean_over_masks_of_the_regularizer():
    regularizer, clips = VarianceCovariance(weight=0.7), batch(0, 4)
    module, alone = jepa(targets=OwnTokens(), terms=regularized(regularizer)), jepa(targets=OwnTokens())
    losses = module.step(clips).losses
    terms = {name.removeprefix("regularizer_"): value for name, value in losses.items() if "regularizer_" in name}
    expected = 0.7 * (terms["invariance"] + terms["variance"] + 0.04 * terms["covariance"])
    torch.testing.assert_close(losses["loss"], alone.step(clips).losses["loss"] + expected)


@pytest.mark.slow
def test_nothing_else_keeps_its_own_targets_from_collapse():
    """The sick run: prediction alone makes all clips alike, and with a regularizer it does not."""

    def spread(module) -> float:
        steps_of(module, 20)
        with torch.no_grad():
            pooled = normalized_targets(target_tokens(module, batch(0, 8).clips / 255 - 0.5)).mean(1)
        return pooled.std(0).mean().item()

    sick = spread(jepa(targets=OwnTokens()))
    kept = spread(jepa(targets=OwnTokens(), terms=regularized(VarianceCovariance())))
    assert sick < 0.5 * kept


def test_an_objective_without_terms_is_refused():
    with pytest.raises(ValueError, match="the objective has no terms"):
        jepa(terms={"prediction": None, "agreement": None})


@pytest.mark.parametrize("name", ["loss", "terms"])
def test_a_name_with_another_meaning_is_refused(name):
    with pytest.raises(ValueError, match=f"can't have the name '{name}'.*try '{name}_term'"):
        jepa(terms={name: LatentPrediction()})


def test_two_terms_of_one_kind_are_logged_separately():
    module = jepa(terms={"prediction": LatentPrediction(), "squared": LatentPrediction(exponent=2.0)})
    losses = module.step(batch(0)).losses
    parts = [losses[f"{term}loss_mask{mask}"] for term in ("", "squared_") for mask in (0, 1)]
    torch.testing.assert_close(losses["loss"], torch.stack(parts).sum() / 2)


def test_a_regularizer_that_reaches_no_network_is_refused():
    module = jepa(terms=regularized(VarianceCovariance(over="places")))
    with pytest.raises(ValueError, match="reads only targets, and these have no gradient"):
        module.step(batch(0))
    with torch.no_grad():
        module.step(batch(0))
