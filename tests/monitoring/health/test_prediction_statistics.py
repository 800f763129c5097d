"""Each statistic of predictions against a plain loop over clips and tokens."""

import pytest
import torch

from vjepa.grid import TokenGrid, gather_tokens
from vjepa.masking import TubeMask, next_frames_mask
from vjepa.monitoring.health import prediction_statistics
from vjepa.monitoring.health.prediction_statistics import (
    loss_ratio,
    losses_by_time,
    nearest_visible,
    token_losses,
    trivial_losses,
)
from vjepa.objectives import LatentPrediction, latent_prediction_loss

GRID = TokenGrid(3, 2, 4)
NUM_CLIPS, WIDTH = 3, 5


def drawn_mask(num_visible: int = 7) -> TubeMask:
    generator = torch.Generator().manual_seed(1)
    ids = torch.stack([torch.randperm(GRID.num_tokens, generator=generator) for _ in range(NUM_CLIPS)])
    return TubeMask(ids[:, :num_visible].sort().values, ids[:, num_visible:].sort().values)


def drawn_targets() -> torch.Tensor:
    return torch.randn(NUM_CLIPS, GRID.num_tokens, WIDTH, generator=torch.Generator().manual_seed(2))


def place(token: int) -> tuple[int, int, int]:
    return token // 8, token % 8 // 4, token % 4


def steps_apart(one: int, other: int) -> tuple[int, int]:
    """Squared distance on the grid, and in time."""
    (t, h, w), (u, k, v) = place(one), place(other)
    return (t - u) ** 2 + (h - k) ** 2 + (w - v) ** 2, abs(t - u)


@pytest.mark.parametrize("pairs_at_once", [1, 2**23])
def test_nearest_visible_token_equals_a_loop(monkeypatch, pairs_at_once):
    monkeypatch.setattr(prediction_statistics, "PAIRS_AT_ONCE", pairs_at_once)
    mask = drawn_mask()
    token_ids, frames_away = nearest_visible(mask, GRID)
    for clip in range(NUM_CLIPS):
        for number, hidden in enumerate(mask.target_ids[clip].tolist()):
            expected = min(mask.context_ids[clip].tolist(), key=lambda seen: (*steps_apart(hidden, seen), seen))
            assert token_ids[clip, number] == expected
            assert frames_away[clip, number] == steps_apart(hidden, expected)[1]


def test_where_every_frame_is_predicted_the_nearest_is_the_one_before():
    nearest = nearest_visible(next_frames_mask(GRID, 1, NUM_CLIPS), GRID)
    assert nearest.token_ids.tolist() == [list(range(16))] * NUM_CLIPS and (nearest.frames_away == 1).all()


@pytest.mark.parametrize(("exponent", "distance"), [(1.0, "power"), (2.0, "power"), (1.0, "cosine")])
def test_trivial_losses_equal_a_loop(exponent, distance):
    mask, targets = drawn_mask(), drawn_targets()
    nearest = nearest_visible(mask, GRID)
    trivial = trivial_losses(targets, mask, GRID, nearest, LatentPrediction(exponent, distance))

    def loss(said: torch.Tensor, true: torch.Tensor) -> float:
        return float(latent_prediction_loss(said[None, None], true[None, None], exponent, distance))

    for clip in range(NUM_CLIPS):
        others = [other for other in range(NUM_CLIPS) if other != clip]
        for number, hidden in enumerate(mask.target_ids[clip].tolist()):
            true = targets[clip, hidden]
            mean = torch.stack([targets[other, hidden] for other in others]).mean(0)
            assert float(trivial.mean_token[clip, number]) == pytest.approx(loss(mean, true), abs=1e-6)
            seen = targets[clip, int(nearest.token_ids[clip, number])]
            assert float(trivial.nearest_visible[clip, number]) == pytest.approx(loss(seen, true), abs=1e-6)
            previous = float(trivial.previous_frame[clip, number])
            if hidden < 8:
                assert previous != previous  # the first frame has none before it
            else:
                assert previous == pytest.approx(loss(targets[clip, hidden - 8], true), abs=1e-6)


def test_a_single_clip_has_no_mean_of_others():
    mask, targets = drawn_mask(), drawn_targets()
    mask = TubeMask(mask.context_ids[:1], mask.target_ids[:1])
    trivial = trivial_losses(targets[:1], mask, GRID, nearest_visible(mask, GRID), LatentPrediction())
    assert trivial.mean_token.isnan().all()
    assert not trivial.nearest_visible.isnan().any()


def test_token_losses_average_to_the_loss_of_the_run():
    mask, targets = drawn_mask(), drawn_targets()
    of_hidden = gather_tokens(targets, mask.target_ids)
    predicted = of_hidden + 0.3
    losses = token_losses(predicted, of_hidden, LatentPrediction(2.0))
    assert losses.shape == mask.target_ids.shape
    assert float(losses.mean()) == pytest.approx(float(latent_prediction_loss(predicted, of_hidden, 2.0)))


def test_ratio_leaves_out_tokens_without_a_trivial_prediction():
    nan = float("nan")
    assert loss_ratio(torch.tensor([1.0, 2.0, 100.0]), torch.tensor([2.0, 4.0, nan])) == pytest.approx(0.5)
    assert loss_ratio(torch.tensor([1.0]), torch.tensor([nan])) != 0.5


def test_losses_by_time_equal_a_loop():
    away = torch.tensor([[0, 1, 2, 3], [4, 7, 9, 0]])
    losses = torch.arange(8.0).view(2, 4)
    bins = {"0": (0, 0), "1": (1, 1), "2_3": (2, 3), "4_7": (4, 7), "8_15": (8, 15)}
    expected = {
        key: [float(loss) for loss, far in zip(losses.flatten(), away.flatten(), strict=True) if low <= far <= high]
        for key, (low, high) in bins.items()
    }
    assert losses_by_time(losses, away) == {key: sum(values) / len(values) for key, values in expected.items()}
    assert list(losses_by_time(losses[:, :1], torch.zeros(2, 1, dtype=torch.int64))) == ["0"]


def test_a_predictor_that_says_the_mean_of_others_is_as_good_as_it():
    mask, targets = drawn_mask(), drawn_targets()
    of_others = (targets.sum(0) - targets) / (NUM_CLIPS - 1)
    of_hidden = gather_tokens(targets, mask.target_ids)
    losses = token_losses(gather_tokens(of_others, mask.target_ids), of_hidden, LatentPrediction())
    trivial = trivial_losses(targets, mask, GRID, nearest_visible(mask, GRID), LatentPrediction())
    assert loss_ratio(losses, trivial.mean_token) == pytest.approx(1)
