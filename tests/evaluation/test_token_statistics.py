import pytest
import torch

from vjepa.evaluation.token_statistics import effective_rank, feature_std, variance_between_clips


def test_effective_rank_counts_directions():
    generator = torch.Generator().manual_seed(0)
    low = torch.randn(2, 500, 5, generator=generator) @ torch.linalg.qr(torch.randn(32, 5, generator=generator))[0].T
    assert effective_rank(low) == pytest.approx(5, abs=0.1)
    assert effective_rank(torch.randn(4000, 32, generator=generator)) == pytest.approx(32, abs=0.3)
    assert effective_rank(torch.ones(100, 32)) == pytest.approx(1, abs=1e-3)
    assert effective_rank(torch.zeros(100, 32)) == pytest.approx(1, abs=1e-3)


def test_effective_rank_is_the_papers_formula():
    tokens = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
    singular = torch.linalg.svdvals(tokens.double())
    share = singular / singular.sum()
    assert effective_rank(tokens) == pytest.approx(torch.exp(-(share * share.log()).sum()).item(), rel=1e-6)


def test_effective_rank_does_not_see_scale_but_std_does():
    tokens = torch.randn(500, 16, generator=torch.Generator().manual_seed(0))
    assert effective_rank(tokens) == pytest.approx(effective_rank(1e-3 * tokens), rel=1e-6)
    assert feature_std(1e-3 * tokens) == pytest.approx(1e-3, rel=0.1)


def test_tokens_that_tell_only_their_place_do_not_vary_between_clips():
    places = torch.randn(1, 10, 8).expand(4, -1, -1)
    assert variance_between_clips(places) == pytest.approx(0, abs=1e-10)
    assert variance_between_clips(torch.randn(64, 10, 8)) == pytest.approx(1, rel=0.2)
