import pytest
import torch
import torch.nn.functional as F

from vjepa.evaluation.token_statistics import (
    cosine_between_clips,
    effective_rank,
    feature_std,
    variance_between_clips,
)
from vjepa.models import VideoEncoder, frozen_copy
from vjepa.monitoring.health.weight_statistics import weight_distance


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


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


def test_a_mean_that_all_tokens_share_does_not_count_in_the_centred_rank():
    far_away = drawn(500, 16) + 100
    assert effective_rank(far_away) < 2
    assert effective_rank(far_away, centred=True) == pytest.approx(effective_rank(drawn(500, 16)), rel=0.01)


def test_tokens_that_are_not_finite_have_no_rank():
    tokens = drawn(20, 4)
    tokens[3, 1] = float("nan")
    assert effective_rank(tokens) != effective_rank(tokens)


def test_tokens_that_tell_only_their_place_do_not_vary_between_clips():
    places = torch.randn(1, 10, 8).expand(4, -1, -1)
    assert variance_between_clips(places) == pytest.approx(0, abs=1e-10)
    assert cosine_between_clips(places) == pytest.approx(1)
    assert variance_between_clips(torch.randn(64, 10, 8)) == pytest.approx(1, rel=0.2)


def test_std_and_variance_equal_their_loops():
    tokens = drawn(5, 3, 4)
    by_feature = [torch.tensor([float(tokens[b, n, d]) for b in range(5) for n in range(3)]).std() for d in range(4)]
    assert feature_std(tokens) == pytest.approx(float(sum(by_feature)) / 4, rel=1e-5)
    by_place = [torch.tensor([float(tokens[b, n, d]) for b in range(5)]).var() for n in range(3) for d in range(4)]
    assert variance_between_clips(tokens) == pytest.approx(float(sum(by_place)) / 12, rel=1e-5)


def test_cosine_equals_a_loop_over_pairs_of_clips():
    tokens = drawn(4, 3, 6)
    cosines = [
        F.cosine_similarity(tokens[i, place], tokens[j, place], dim=0)
        for place in range(3)
        for i in range(4)
        for j in range(4)
        if i != j
    ]
    assert cosine_between_clips(tokens) == pytest.approx(float(torch.stack(cosines).mean()), abs=1e-6)
    assert cosine_between_clips(tokens[:1]) != cosine_between_clips(tokens[:1])  # a single clip has no other


def test_cosine_of_layer_normed_tokens_is_one_minus_their_variance():
    tokens = F.layer_norm(drawn(6, 5, 32), (32,))
    assert cosine_between_clips(tokens) == pytest.approx(1 - variance_between_clips(tokens), abs=1e-4)


@torch.no_grad()
def test_distance_of_weights_equals_a_loop_and_is_0_for_a_copy():
    encoder = VideoEncoder(embed_dim=12, depth=1, num_heads=2, tubelet=(2, 4, 4))
    other = frozen_copy(encoder)
    assert weight_distance(encoder, other) == 0
    for number, parameter in enumerate(other.parameters()):
        parameter.data += 0.01 * number
    pairs = list(zip(encoder.parameters(), other.parameters(), strict=True))
    difference = sum(float(((ours - theirs) ** 2).sum()) for ours, theirs in pairs) ** 0.5
    size = sum(float((ours**2).sum()) for ours, _ in pairs) ** 0.5
    assert weight_distance(encoder, other) == pytest.approx(difference / size, rel=1e-5)
