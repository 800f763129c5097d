"""Clip agreement against the terms' definitions, and over ranks."""

import pytest
import torch

from vjepa.objectives.clip_agreement import ClipAgreement
from vjepa.objectives.variance_covariance import missing_variance, off_diagonal


def test_features_that_spread_by_one_miss_no_variance_and_a_constant_misses_all():
    torch.manual_seed(0)
    spread = torch.randn(400, 5) * 3
    assert missing_variance(spread) == 0
    assert missing_variance(torch.ones(400, 5)).item() == pytest.approx(0.99, abs=1e-6)  # 1 less the 0.01 of eps


def test_the_covariance_term_is_that_of_the_covariance_matrix():
    torch.manual_seed(0)
    embeddings = torch.randn(50, 4) @ torch.randn(4, 4)
    covariance = torch.cov(embeddings.T)
    expected = (covariance.square().sum() - covariance.diagonal().square().sum()) / 4
    torch.testing.assert_close(off_diagonal(embeddings), expected)


def test_parts_that_say_the_same_agree():
    torch.manual_seed(0)
    agreement = ClipAgreement(encoder_dim=8, hidden_dim=16, output_dim=4)
    seen = torch.randn(6, 5, 8)
    terms = agreement(seen, seen[:, torch.randperm(5)])
    assert terms.invariance.item() == pytest.approx(0, abs=1e-10)
    assert terms.variance > 0
    assert agreement(seen, torch.randn(6, 5, 8)).invariance > 1e-4


def test_the_loss_weighs_the_terms():
    agreement = ClipAgreement(encoder_dim=8, weight=2.0, covariance_weight=0.5)
    terms = agreement(torch.randn(6, 5, 8), torch.randn(6, 3, 8))
    expected = 2 * (terms.invariance + terms.variance + 0.5 * terms.covariance)
    torch.testing.assert_close(agreement.loss(terms), expected)


def test_agreement_learns_what_both_parts_share():
    """Each token is a shared direction of its clip in noise: without a label the projector finds it."""
    torch.manual_seed(0)
    agreement = ClipAgreement(encoder_dim=16, output_dim=4)
    optimizer = torch.optim.Adam(agreement.parameters(), 1e-2)
    shared_directions = torch.randn(2, 16)

    def draw() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        shared = torch.randn(64, 2)
        seen, hidden = (torch.randn(64, 4, 16) + (shared @ shared_directions)[:, None] for _ in range(2))
        return shared, seen, hidden

    first = agreement.loss(agreement(*draw()[1:])).item()
    for _ in range(100):
        _, seen, hidden = draw()
        optimizer.zero_grad()
        agreement.loss(agreement(seen, hidden)).backward()
        optimizer.step()
    assert agreement.loss(agreement(*draw()[1:])).item() < 0.7 * first
