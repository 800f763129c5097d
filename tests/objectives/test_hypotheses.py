"""Several hypotheses of one future: the best one learns, all are used, and each becomes one of the true futures."""

import copy

import pytest
import torch

from vjepa.grid import TokenGrid, gather_tokens
from vjepa.masking import TubeMask
from vjepa.models import Predictor, VideoEncoder
from vjepa.objectives import ClipStep, HypothesisUsage, LatentPrediction, best_hypotheses, hypothesis_errors
from vjepa.training import JEPA

GRID = TokenGrid(2, 2, 2)
MASK = TubeMask(torch.arange(4).expand(2, -1), torch.arange(4, 8).expand(2, -1))


def predictor(num_hypotheses: int, **settings) -> Predictor:
    torch.manual_seed(0)
    return Predictor(24, embed_dim=24, depth=1, num_heads=2, num_hypotheses=num_hypotheses, **settings)


def step(hypotheses: torch.Tensor, targets: torch.Tensor) -> ClipStep:  # (K, B, Nt, D), (B, N, D)
    nothing = torch.zeros(2, 3, 4, 8, 8)
    return ClipStep(
        number=0,
        clips=nothing,
        grid=GRID,
        masks=[MASK],
        contexts=[torch.zeros(2, 4, 24)],
        encode=lambda ids: torch.zeros(2, 4, 24),
        targets=targets,
        hypotheses=[hypotheses],
    )


def test_the_best_hypothesis_of_each_clip_is_the_nearest():
    target = torch.zeros(2, 1, 2)
    hypotheses = torch.tensor([[[[1.0, 1.0]], [[0.0, 0.5]]], [[[0.0, 1.0]], [[3.0, 0.0]]]])  # (2, 2, 1, 2)
    torch.testing.assert_close(hypothesis_errors(hypotheses, target), torch.tensor([[1.0, 0.5], [0.25, 1.5]]))
    assert best_hypotheses(hypotheses, target).tolist() == [1, 0]


def test_one_hypothesis_is_the_plain_predictor():
    plain, several = predictor(1), predictor(2)
    assert set(several.state_dict()) - set(plain.state_dict()) == {"hypotheses"}
    several.load_state_dict(plain.state_dict() | {"hypotheses": torch.zeros(2, 24)})
    context = torch.randn(2, 4, 24)
    for which in (0, 1):
        assert torch.equal(several(context, MASK, GRID, hypothesis=which), plain(context, MASK, GRID))


def test_hypotheses_differ_from_the_start():
    both = [predictor(2)(torch.ones(2, 4, 24), MASK, GRID, hypothesis=which) for which in (0, 1)]
    assert (both[0] - both[1]).abs().max() > 1e-4


def test_the_step_keeps_all_hypotheses_and_predicts_by_the_best():
    encoder = VideoEncoder(embed_dim=24, depth=1, num_heads=2, tubelet=(2, 4, 4))
    module = JEPA(encoder, predictor(3), {"prediction": LatentPrediction(), "usage": HypothesisUsage()})
    made = ClipStep(
        number=0,
        clips=torch.randn(2, 3, 4, 8, 8),
        grid=GRID,
        masks=[MASK],
        contexts=[encoder(torch.randn(2, 3, 4, 8, 8), MASK.context_ids)],
        encode=lambda ids: encoder(torch.zeros(2, 3, 4, 8, 8), ids),
    )
    module.predict_hidden(made)
    target = gather_tokens(made.targets, MASK.target_ids)
    errors = (made.hypotheses[0] - target).abs().mean((2, 3))  # (K, B)
    torch.testing.assert_close((made.predictions[0] - target).abs().mean((1, 2)), errors.min(0).values)
    assert "usage_most_used" in module.objective(made)


def test_usage_is_log_k_minus_entropy_beside_a_share_of_all_errors():
    targets = torch.zeros(2, 8, 3)
    # Both clips are surely explained by the first hypothesis: entropy 0; mean error (0 + 1) / 2.
    hypotheses = torch.stack((torch.zeros(2, 4, 3), torch.ones(2, 4, 3)))
    value = HypothesisUsage(others_weight=0.5, usage_weight=2.0, temperature=0.01)(step(hypotheses, targets))
    assert value.loss.item() == pytest.approx(0.5 * 0.5 + 2.0 * torch.log(torch.tensor(2.0)).item(), abs=1e-5)
    assert value.parts["term_most_used"] == 1
    # Each explains one of the clips: used equally.
    hypotheses[:, 1] = hypotheses[:, 1].flip(0)
    value = HypothesisUsage(others_weight=0.0, usage_weight=2.0, temperature=0.01)(step(hypotheses, targets))
    assert value.loss.item() == pytest.approx(0, abs=1e-5)


def test_two_hypotheses_become_two_futures_of_one_past():
    """From one and the same past, the target is 1 or -1 at random."""

    def error_of_the_best(num_hypotheses: int) -> float:
        network = predictor(num_hypotheses)
        usage = HypothesisUsage()
        optimizer = torch.optim.Adam(network.parameters(), 1e-2)
        context = torch.ones(2, 4, 24)
        signs = torch.tensor([1.0, -1.0])[:, None, None]
        for _ in range(60):
            outputs = torch.stack([network(context, MASK, GRID, hypothesis=k) for k in range(num_hypotheses)])
            targets = signs.expand(2, 8, 24)
            best = outputs[best_hypotheses(outputs, targets[:, 4:]), torch.arange(2)]
            loss = (best - targets[:, 4:]).abs().mean()
            if num_hypotheses > 1:
                loss = loss + usage(step(outputs, targets)).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return float((best.detach() - targets[:, 4:]).abs().mean())

    assert error_of_the_best(2) < 0.2
    assert error_of_the_best(1) > 0.99


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"others_weight": -1.0}, r"others_weight \(-1.0\) must be at least 0"),
        ({"temperature": 0.0}, r"temperature \(0.0\) must be more than 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        HypothesisUsage(**settings)


def test_networks_that_do_not_fit_are_refused():
    encoder = VideoEncoder(embed_dim=24, depth=1, num_heads=2, tubelet=(2, 4, 4))
    with pytest.raises(ValueError, match="num_hypotheses of 2 or more; it is 1"):
        JEPA(copy.deepcopy(encoder), predictor(1), {"usage": HypothesisUsage()})
    with pytest.raises(ValueError, match=r"num_hypotheses \(0\) must be at least 1"):
        predictor(0)
