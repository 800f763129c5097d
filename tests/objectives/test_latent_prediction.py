"""The distances of the prediction loss against their formulas in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vjepa.grid import TokenGrid
from vjepa.masking import TubeMask
from vjepa.objectives import ContextPrediction, distance_to_hidden, latent_prediction_loss


def smooth_l1(predicted: Tensor, target: Tensor) -> Tensor:
    error = (predicted - target).abs()
    return torch.where(error < 1, error**2 / 2, error - 0.5).mean()


def cosine(predicted: Tensor, target: Tensor) -> Tensor:
    return (1 - (predicted * target).sum(-1) / (predicted.norm(dim=-1) * target.norm(dim=-1))).mean()


FORMULAS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "power": lambda predicted, target: (predicted - target).abs().mean(),
    "smooth_l1": smooth_l1,
    "cosine": cosine,
}


@pytest.mark.parametrize("distance", list(FORMULAS))
def test_a_distance_is_its_formula_with_its_gradient(distance):
    torch.manual_seed(0)
    predicted = (2 * torch.randn(3, 5, 8)).requires_grad_()
    target = torch.randn(3, 5, 8)
    wide = predicted.detach().double().requires_grad_()
    found, expected = latent_prediction_loss(predicted, target, distance=distance), FORMULAS[distance](wide, target)
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)
    found.backward(), expected.backward()
    torch.testing.assert_close(predicted.grad.double(), wide.grad, rtol=1e-5, atol=1e-8)


def test_the_power_of_two_is_half_of_the_squared_error():
    predicted, target = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    torch.testing.assert_close(latent_prediction_loss(predicted, target, 2.0), (predicted - target).square().mean() / 2)


def test_the_cosine_is_blind_to_lengths():
    target = torch.randn(2, 3, 4)
    assert latent_prediction_loss(7 * target, target, distance="cosine").item() == pytest.approx(0, abs=1e-6)
    assert latent_prediction_loss(-target, target, distance="cosine").item() == pytest.approx(2, abs=1e-6)


def test_context_prediction_takes_the_same_distance():
    mask = TubeMask(torch.tensor([[0, 1, 5]]), torch.tensor([[2, 3, 4, 6, 7]]))
    predicted, target = torch.randn(1, 3, 6), torch.randn(1, 3, 6)
    away = distance_to_hidden(mask, TokenGrid(2, 2, 2))
    expected = ((1 - torch.cosine_similarity(predicted, target, dim=-1)) / away).mean()
    found = ContextPrediction(distance="cosine").token_losses(predicted, target, mask, TokenGrid(2, 2, 2)).mean()
    torch.testing.assert_close(found, expected)


def test_an_unknown_distance_is_refused():
    with pytest.raises(ValueError, match="distance 'l3' must be one of power, smooth_l1, cosine"):
        latent_prediction_loss(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2), distance="l3")
