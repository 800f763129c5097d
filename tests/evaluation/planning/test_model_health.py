"""Verdicts on world models whose illness is known, because it was made."""

import pytest
import torch

from vjepa.evaluation.planning.model_health import (
    Examples,
    HealthLimitsOfWorldModel,
    Windows,
    verdict,
    world_model_health,
)
from vjepa.evaluation.planning.ridge_regression import ridge_regression

LIMITS = HealthLimitsOfWorldModel()


def windows(kind: str) -> Windows:
    """An agent in the plane, whose latents are a linear map of its place."""
    generator = torch.Generator().manual_seed(0)
    actions = torch.randn(60, 5, 2, generator=generator)
    places = torch.cat((torch.zeros(60, 1, 2), actions.cumsum(1)), dim=1) + torch.randn(60, 1, 2, generator=generator)
    weights = torch.randn(2, 6, generator=generator)
    latents = (places @ weights).unsqueeze(2)  # (B, T, 1, D)
    rolled = latents[:, 1:] + 0.05 * torch.randn(latents[:, 1:].shape, generator=generator)
    others = latents[:, :1] + (actions.roll(1, 0).cumsum(1) @ weights).unsqueeze(2)
    if kind == "collapsed":
        latents, rolled, others = (1e-3 * part for part in (latents, rolled, others))
    if kind == "blind":  # it holds the room, not the agent
        latents = torch.randn(60, 1, 1, 6, generator=generator).expand(-1, 6, -1, -1)
        latents = latents + 1e-3 * torch.randn(latents.shape, generator=generator)
        rolled = others = latents[:, 1:]
    if kind == "deaf":
        others = rolled
    if kind == "confused":
        rolled = latents[:, :1].expand(-1, 5, -1, -1)
    return Windows(latents, rolled, others, actions, places)


@pytest.mark.parametrize("kind", ["healthy", "collapsed", "blind", "deaf", "confused"])
def test_each_illness_is_called_by_its_name(kind):
    assert verdict(world_model_health(windows(kind)), LIMITS).split(":")[0] == kind


@pytest.mark.parametrize("part", ["latents", "rolled", "rolled_by_others"])
def test_a_run_that_diverged_is_not_called_healthy(part):
    sound = windows("healthy")
    for value in (float("nan"), 1e30):
        diverged = sound._replace(**{part: getattr(sound, part) * value})
        assert verdict(world_model_health(diverged), LIMITS).startswith("unknown: ")


def test_a_single_window_is_too_few_for_a_verdict():
    one = Windows(*(part[:1] for part in windows("healthy")))
    assert verdict(world_model_health(one), LIMITS) == (
        "unknown: inverse_error is nan; the run diverged, or there are fewer than two windows to read"
    )


def test_a_read_out_of_many_features_is_the_same_on_its_smaller_side():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(20, width, generator=generator).double() for width in (50, 3))
    penalty = 1e-4 * 20 * x.square().mean() + 1e-9
    plain = torch.linalg.solve(x.T @ x + penalty * torch.eye(50).double(), x.T @ y)
    torch.testing.assert_close(ridge_regression(x, y), plain)


def test_spread_and_rank_alone_would_call_a_blind_model_healthy():
    health = world_model_health(windows("blind"))
    assert health["std"] > 0.9
    assert health["rank"] > 4


def test_the_state_error_is_a_distance_in_the_states_own_unit():
    sound = windows("healthy")
    assert world_model_health(sound)["state_error"] < 0.01
    noise = torch.randn(sound.latents.shape, generator=torch.Generator().manual_seed(1))
    spread = float(torch.linalg.vector_norm(sound.states - sound.states.mean((0, 1)), dim=-1).mean())
    assert world_model_health(sound._replace(latents=noise))["state_error"] == pytest.approx(spread, rel=0.3)


def test_read_outs_are_fitted_on_examples_where_windows_are_few():
    sound = windows("healthy")
    wide = torch.randn((*sound.latents.shape[:3], 40), generator=torch.Generator().manual_seed(2))
    latents = torch.cat((sound.latents, wide), dim=-1)  # more features than a few windows can tell apart
    few = Windows(latents[:3], *(latents[:3, 1:],) * 2, sound.actions[:3], sound.states[:3])
    examples = Examples(latents[3:], sound.actions[3:], sound.states[3:])
    alone, helped = world_model_health(few), world_model_health(few, examples)
    assert helped["state_error"] < 0.05 < alone["state_error"]
    assert helped["inverse_error"] < 0.1 < alone["inverse_error"]


def test_straight_paths_are_straight():
    steps = torch.arange(5.0).view(1, 5, 1, 1) * torch.ones(30, 1, 1, 3)
    tilted = Windows(steps, steps[:, 1:], steps[:, 1:] + 1, torch.randn(30, 4, 2), torch.zeros(30, 5, 0))
    health = world_model_health(tilted)
    assert health["straightness"] == pytest.approx(1.0)
    assert "state_error" not in health
