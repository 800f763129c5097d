"""VICReg, Barlow Twins and SIGReg: against plain formulas in float64, what the papers promise, and over ranks."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vjepa.objectives import BarlowTwins, ClipContrast, Projector, Regularizer, SIGReg, VarianceCovariance
from vjepa.objectives.barlow_twins import cross_correlation
from vjepa.objectives.sigreg import epps_pulley, unit_directions
from vjepa.objectives.variance_covariance import missing_variance, off_diagonal

STEP = 3


def vicreg_of(embeddings: Tensor) -> tuple[Tensor, Tensor]:  # (B, E) -> variance, covariance
    num_clips, width = embeddings.shape
    mean = embeddings.sum(0) / num_clips
    variance = covariance = torch.zeros((), dtype=torch.float64)
    for i in range(width):
        for j in range(width):
            product = ((embeddings[:, i] - mean[i]) * (embeddings[:, j] - mean[j])).sum() / (num_clips - 1)
            if i == j:
                variance = variance + torch.clamp(1 - (product + 1e-4).sqrt(), min=0) / width
            else:
                covariance = covariance + product**2 / width
    return variance, covariance


def plain_vicreg(predicted: Tensor, tokens: Tensor) -> Tensor:
    first, second = predicted.mean(1), tokens.mean(1)
    (variance, covariance), (variance_2, covariance_2) = vicreg_of(first), vicreg_of(second)
    invariance = ((first - second) ** 2).mean()
    return 2 * (3 * invariance + (variance + variance_2) / 2 + 0.5 * (covariance + covariance_2) / 2)


def plain_vicreg_of_places(predicted: Tensor, tokens: Tensor) -> Tensor:
    of_places = [vicreg_of(tokens[:, place]) for place in range(tokens.shape[1])]
    return torch.stack([variance + 0.5 * covariance for variance, covariance in of_places]).mean()


def plain_barlow_twins(predicted: Tensor, tokens: Tensor) -> Tensor:
    def standardized(embeddings: Tensor) -> Tensor:
        return (embeddings - embeddings.mean(0)) / (embeddings.var(0, unbiased=False) + 1e-5).sqrt()

    first, second = standardized(predicted.mean(1)), standardized(tokens.mean(1))
    width, loss = first.shape[1], torch.zeros((), dtype=torch.float64)
    for i in range(width):
        for j in range(width):
            correlation = (first[:, i] * second[:, j]).mean()
            loss = loss + ((1 - correlation) ** 2 if i == j else 0.1 * correlation**2) / width
    return 2 * loss


def plain_epps_pulley(embeddings: Tensor) -> Tensor:  # (B, E)
    directions = unit_directions(embeddings.shape[1], 7, 0, STEP).double()
    points = torch.linspace(-5, 5, 33, dtype=torch.float64)
    of_clips = torch.exp(1j * (embeddings @ directions)[..., None] * points).mean(0)  # (K, T)
    distance = (of_clips - torch.exp(-(points**2) / 2)).abs() ** 2
    return torch.trapezoid(distance * torch.exp(-(points**2) / 2), points, dim=-1).mean()


def plain_sigreg(predicted: Tensor, tokens: Tensor) -> Tensor:
    first, second = predicted.mean(1), tokens.mean(1)
    spread = (plain_epps_pulley(first) + plain_epps_pulley(second)) / 2
    return 2 * (0.3 * ((first - second) ** 2).mean() + spread)


def plain_sigreg_of_places(predicted: Tensor, tokens: Tensor) -> Tensor:
    return torch.stack([plain_epps_pulley(tokens[:, place]) for place in range(tokens.shape[1])]).mean()


CASES: dict[str, tuple[Regularizer, Callable[[Tensor, Tensor], Tensor]]] = {
    "vicreg": (VarianceCovariance(weight=2.0, invariance_weight=3.0, covariance_weight=0.5), plain_vicreg),
    "vicreg of places": (VarianceCovariance(over="places", covariance_weight=0.5), plain_vicreg_of_places),
    "barlow twins": (BarlowTwins(weight=2.0, off_diagonal_weight=0.1), plain_barlow_twins),
    "sigreg": (SIGReg(weight=2.0, invariance_weight=0.3, num_directions=7), plain_sigreg),
    "sigreg of places": (SIGReg(over="places", weight=1.0, num_directions=7), plain_sigreg_of_places),
}
each = pytest.mark.parametrize("name", list(CASES))


def tokens_of(num_clips: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    predicted, tokens = (torch.randn(num_clips, count, 4, generator=generator) for count in (3, 5))
    return predicted.requires_grad_(), tokens.requires_grad_()


@each
def test_value_and_gradient_are_those_of_the_formula(name):
    regularizer, formula = CASES[name]
    parts = tokens_of()
    wide = [part.detach().double().requires_grad_() for part in parts]
    found, expected = regularizer(*parts, STEP).loss, formula(*wide)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-7)
    found.backward(), expected.backward()
    for ours, theirs in zip(parts, wide, strict=True):
        gradients = [torch.zeros(()) if part.grad is None else part.grad.double() for part in (ours, theirs)]
        torch.testing.assert_close(
            *(gradient.expand(ours.shape).double() for gradient in gradients), rtol=1e-4, atol=1e-6
        )


@each
def test_clips_that_are_all_alike_cost_more_than_clips_that_spread(name):
    regularizer, _ = CASES[name]
    spread = torch.randn(64, 1, 4, generator=torch.Generator().manual_seed(1)).expand(-1, 5, -1)
    places = torch.randn(1, 5, 4).expand(64, -1, -1)  # a token that knows only its place is collapsed, too
    losses = [regularizer(part, part, STEP).loss for part in (spread, places)]
    assert losses[0] < 0.5 * losses[1]


def test_agreement_finds_what_two_parts_of_a_clip_share():
    """Each token is a shared direction of its clip in noise: without a label the projector finds it."""
    torch.manual_seed(0)
    agreement = VarianceCovariance(projector=Projector(16, output_dim=4), covariance_weight=0.1)
    optimizer = torch.optim.Adam(agreement.parameters(), 1e-2)
    shared_directions = torch.randn(2, 16)

    def loss() -> Tensor:
        shared = torch.randn(64, 2) @ shared_directions
        seen, hidden = (torch.randn(64, 4, 16) + shared[:, None] for _ in range(2))
        return agreement(seen, hidden, STEP).loss

    first = loss().item()
    for _ in range(100):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < 0.7 * first


def test_parts_that_say_the_same_agree():
    torch.manual_seed(0)
    agreement = VarianceCovariance(projector=Projector(8, 16, 4))
    seen = torch.randn(6, 5, 8)
    parts = agreement(seen, seen[:, torch.randperm(5)], STEP).parts
    assert parts["invariance"].item() == pytest.approx(0, abs=1e-10)
    assert parts["variance"] > 0
    assert agreement(seen, torch.randn(6, 5, 8), STEP).parts["invariance"] > 1e-4


def test_features_that_spread_by_one_miss_no_variance_and_a_constant_misses_all():
    torch.manual_seed(0)
    assert missing_variance(torch.randn(400, 5) * 3) == 0
    assert missing_variance(torch.ones(400, 5)).item() == pytest.approx(0.99, abs=1e-6)  # 1 less the 0.01 of eps


def test_the_covariance_term_is_that_of_the_covariance_matrix():
    torch.manual_seed(0)
    embeddings = torch.randn(50, 4) @ torch.randn(4, 4)
    covariance = torch.cov(embeddings.T)
    expected = (covariance.square().sum() - covariance.diagonal().square().sum()) / 4
    torch.testing.assert_close(off_diagonal(embeddings), expected)


def test_variance_is_missed_below_one_only_and_its_gradient_spreads():
    generator = torch.Generator().manual_seed(0)
    narrow = (0.3 * torch.randn(50, 3, generator=generator)).requires_grad_()
    missing_variance(narrow).backward()
    with torch.no_grad():
        assert missing_variance(narrow - narrow.grad) < missing_variance(narrow)
        assert (narrow.grad * (narrow - narrow.mean(0))).sum() < 0  # away from the mean
    wide = (3 * torch.randn(50, 3, generator=generator)).requires_grad_()
    loss = missing_variance(wide)
    loss.backward()
    assert loss == 0 and not wide.grad.any()


def test_decorrelated_features_have_no_covariance():
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert off_diagonal(signs) == 0
    assert off_diagonal(signs[:, [0, 0]]).item() == pytest.approx(2 * (4 / 3) ** 2 / 2)


def test_an_identity_of_cross_correlations_is_the_minimum():
    # Orthogonal columns without a mean: Hadamard's.
    signs = torch.tensor([[1.0]])
    for _ in range(3):
        signs = torch.cat((torch.cat((signs, signs), 1), torch.cat((signs, -signs), 1)))
    tokens = signs[:, 1:].unsqueeze(1)  # (8, 1, 7)
    torch.testing.assert_close(cross_correlation(tokens[:, 0], tokens[:, 0]), torch.eye(7), atol=2e-5, rtol=0)
    objective = BarlowTwins()
    assert objective(tokens, tokens, 0).loss.item() == pytest.approx(0, abs=1e-9)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        moved = tokens + 0.1 * torch.randn(tokens.shape, generator=generator)
        assert objective(moved, tokens, 0).loss > 1e-5


def gaussianity(embeddings: Tensor) -> float:
    points = torch.linspace(0, 5, 17)
    return epps_pulley(embeddings, unit_directions(embeddings.shape[1], 64, 0, 0), points).item()


def test_a_gaussian_is_nearer_than_what_is_none_and_the_more_so_the_more_clips():
    generator = torch.Generator().manual_seed(0)
    gaussian = torch.randn(4000, 8, generator=generator)
    few, many = gaussianity(gaussian[:250]), gaussianity(gaussian)
    assert few == pytest.approx(1.06 / 250, rel=0.5)
    assert many == pytest.approx(1.06 / 4000, rel=0.5)
    anisotropic = gaussian * torch.tensor([2.0] + 7 * [0.5])
    line = torch.rand(4000, 1, generator=generator).sub(0.5).mul(12**0.5)  # one feature: along it a sum is no Gaussian
    collapsed = torch.zeros(4000, 8)
    assert gaussianity(anisotropic) > 20 * many
    assert gaussianity(line) > 10 * many
    assert gaussianity(gaussian * 0.1) > gaussianity(gaussian * 0.5) > 20 * many
    assert gaussianity(collapsed) == pytest.approx(0.409, abs=0.001)  # sqrt(2 pi) (1 - sqrt(2) + 1 / sqrt(3))
    assert gaussianity(gaussian + 2) > 100 * many


def test_directions_are_a_function_of_seed_and_step():
    first = unit_directions(6, 10, seed=0, step=5)
    torch.testing.assert_close(first.norm(dim=0), torch.ones(10))
    assert torch.equal(first, unit_directions(6, 10, seed=0, step=5))
    assert not torch.equal(first, unit_directions(6, 10, seed=0, step=6))
    assert not torch.equal(first, unit_directions(6, 10, seed=1, step=5))


@pytest.mark.parametrize("name", ["vicreg", "barlow twins", "sigreg"])
def test_gradient_steps_keep_tokens_from_collapse(name):
    regularizer, _ = CASES[name]
    tokens = (0.01 * torch.randn(32, 2, 4, generator=torch.Generator().manual_seed(0))).requires_grad_()
    optimizer = torch.optim.Adam([tokens], 0.05)
    for step in range(100):
        optimizer.zero_grad()
        regularizer(tokens, tokens, step).loss.backward()
        optimizer.step()
    found = torch.corrcoef(tokens.detach().mean(1).T) - torch.eye(4)
    assert found.abs().max() < 0.5
    if name != "barlow twins":  # which is blind to scale
        assert (tokens.detach().mean(1).std(0) > 0.6).all()


@pytest.mark.slow
def test_two_ranks_have_the_terms_and_gradients_of_one(tmp_path):
    projector = Projector(4, 8, 3)
    torch.save(projector.state_dict(), tmp_path / "projector.pt")
    script = Path(__file__).with_name("regularizers_on_a_rank.py")
    root = Path(__file__).parents[2]
    ranks = [
        subprocess.Popen([sys.executable, str(script), str(rank), str(tmp_path)], cwd=root, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    for rank in ranks:
        _, errors = rank.communicate(timeout=120)
        assert rank.returncode == 0, errors.decode()
    results = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]

    for name, regularizer in regularizers(projector).items():
        projector.zero_grad()
        predicted, tokens = tokens_of(8)
        value = regularizer(predicted, tokens, STEP)
        value.loss.backward()
        for result in (found[name] for found in results):
            torch.testing.assert_close(
                result["terms"], torch.stack(list(value.parts.values())).detach(), rtol=1e-5, atol=1e-6
            )
        # What DDP makes of the ranks' gradients: their average.
        of_ranks = [found[name]["gradients"] for found in results]
        for number, parameter in enumerate(projector.parameters()):
            average = (of_ranks[0][number] + of_ranks[1][number]) / 2
            torch.testing.assert_close(average, parameter.grad, rtol=1e-4, atol=1e-6)


def regularizers(projector: Projector) -> dict[str, Regularizer]:
    return {
        "vicreg": VarianceCovariance(projector=projector),
        "vicreg of places": VarianceCovariance(over="places", projector=projector),
        "clip contrast": ClipContrast(projector),
        "barlow twins": BarlowTwins(projector=projector),
        "sigreg": SIGReg(projector=projector, num_directions=7),
        "sigreg of places": SIGReg(over="places", projector=projector, num_directions=7),
    }


def test_what_can_not_be_regularized_is_refused():
    predicted, tokens = tokens_of(num_clips=1)
    for regularizer in (VarianceCovariance(), BarlowTwins()):
        with pytest.raises(ValueError, match=r"global_batch_size \(1\) must be at least 2"):
            regularizer(predicted, tokens, 0)
    with pytest.raises(ValueError, match=r"the projector's input_dim \(9\) must be the width of the tokens, 4"):
        SIGReg(projector=Projector(9))(predicted, tokens, 0)
    with pytest.raises(ValueError, match="over 'tokens' must be one of clips, places"):
        SIGReg(over="tokens")(predicted, tokens, 0)
    with pytest.raises(ValueError, match=r"num_directions \(0\) must be at least 1"):
        SIGReg(num_directions=0)
