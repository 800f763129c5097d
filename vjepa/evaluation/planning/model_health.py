"""Is a world model fit to plan with? Metrics beyond the deviation and rank of latents.

A model may spread its latents well and represent only the walls (measured here: deviation 0.98, rank 3.5 of 32, and no
read-out finds the agent). So states, in the world's own units, and actions are read from latents, too.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor

from vjepa.evaluation.planning.ridge_regression import ridge_regression
from vjepa.evaluation.token_statistics import effective_rank, feature_std


class Windows(NamedTuple):
    """Windows of validation episodes as latents."""

    latents: Float[Tensor, "B T N D"]  # of their frames
    rolled: Float[Tensor, "B T-1 N D"]  # imagined from the first frame, by their actions
    rolled_by_others: Float[Tensor, "B T-1 N D"]  # by the actions of other windows
    actions: Float[Tensor, "B T-1 A"]  # normalised
    states: Float[Tensor, "B T S"]  # S may be 0


class Examples(NamedTuple):
    """Windows of other episodes, for fitting read-outs."""

    latents: Float[Tensor, "E T N D"]
    actions: Float[Tensor, "E T-1 A"]  # normalised
    states: Float[Tensor, "E T S"]


@dataclass(frozen=True)
class HealthLimitsOfWorldModel:
    """Limits beyond which a world model is unhealthy.

    Args:
        least_rank: of latents, centred; below it they are collapsed.
        least_std: of latents.
        largest_inverse_error: error of actions that are read from two latents, as a fraction of their variance; beyond
            it latents do not represent the agent. A quarter of the variance, of random actions within a chunk, can't be
            read.
        largest_error_over_change: of imagined latents, as a fraction of the true change; predicting no change gives 1.
        least_sensitivity: error with other windows' actions over that with the true ones; 1 if actions do not matter.
    """

    least_rank: float = 1.5
    least_std: float = 0.05
    largest_inverse_error: float = 0.8
    largest_error_over_change: float = 0.7
    least_sensitivity: float = 1.5


@torch.no_grad()
def world_model_health(windows: Windows, examples: Examples | None = None) -> dict[str, float]:
    """Metrics by name, which docs/world-models.md explains.

    Read-outs are fitted on examples of training episodes and evaluated on all windows; without examples, fitted on the
    first two thirds of the windows and evaluated on the others. A few validation episodes are too few to fit on: on ten
    recordings of a robot a state error of 0.45 rad came out as 2.25.
    """
    latents = windows.latents.float()
    asked = Examples(latents, windows.actions, windows.states)
    if examples is None:
        split = max(1, len(latents) * 2 // 3)
        examples, asked = (Examples(*(part[rows] for part in asked)) for rows in (slice(split), slice(split, None)))
    centred = latents - latents.mean((0, 1), keepdim=True)
    within = latents - latents.mean(1, keepdim=True)
    changes = (latents[:, 1:] - latents[:, :-1]).flatten(2)
    to_come = latents[:, 1:]
    error = (windows.rolled - to_come).square().mean((0, 2, 3))  # (T - 1,) by steps ahead
    error_of_others = (windows.rolled_by_others - to_come).square().mean()
    from_first = (to_come - latents[:, :1]).square().mean((0, 2, 3))
    health = {
        "std": feature_std(latents),
        "rank": effective_rank(centred),
        "std_within_windows": feature_std(within),
        "rank_within_windows": effective_rank(within),
        "error_over_change": float(error[0] / from_first[0].clamp_min(1e-12)),
        "error_over_change_last": float(error[-1] / from_first[-1].clamp_min(1e-12)),
        "action_sensitivity": float(error_of_others / error.mean().clamp_min(1e-12)),
        "inverse_error": _inverse_error(examples, asked),
    }
    if changes.shape[1] > 1:
        health["straightness"] = float(F.cosine_similarity(changes[:, :-1], changes[:, 1:], dim=-1).mean())
    if windows.states.shape[-1]:
        health["state_error"] = _state_error(examples, asked)
    return health


def verdict(health: dict[str, float], limits: HealthLimitsOfWorldModel) -> str:
    """ "healthy", or the problem in words. Metrics that are not finite make it unknown."""
    for name, value in health.items():
        if not math.isfinite(value):
            return f"unknown: {name} is {value}; the run diverged, or there are fewer than two windows to read"
    if health["std"] < limits.least_std or health["rank"] < limits.least_rank:
        return "collapsed: latents are all alike"
    if health["inverse_error"] > limits.largest_inverse_error:
        return "blind: actions can't be read from latents, so they don't hold the agent"
    if health["action_sensitivity"] < limits.least_sensitivity:
        return "deaf: what is imagined hardly depends on actions"
    if health["error_over_change"] > limits.largest_error_over_change:
        return "confused: imagined latents are hardly nearer than those of a world where nothing moves"
    return "healthy"


def _state_error(fitted: Examples, asked: Examples) -> float:
    """Mean distance, in the world's unit, between states and their linear read-out.

    A fraction of variance would be as good on latents a thousand times smaller, whose distances are meaningless.
    """
    said = _linear_read_out(fitted.latents, fitted.states, asked.latents)
    return float(torch.linalg.vector_norm(said - asked.states.flatten(0, 1).to(said), dim=-1).mean())


def _inverse_error(fitted: Examples, asked: Examples) -> float:
    """Squared error of actions read linearly from the latents around them, as a fraction of their variance."""
    pairs, asked_pairs = (torch.cat((part[:, :-1], part[:, 1:]), dim=2) for part in (fitted.latents, asked.latents))
    said = _linear_read_out(pairs, fitted.actions, asked_pairs)
    if not len(said):
        return math.nan
    true = asked.actions.flatten(0, 1).to(said)
    return float((said - true).square().mean() / true.var(dim=0, correction=0).mean().clamp_min(1e-12))


def _linear_read_out(
    fitted_inputs: Float[Tensor, "E T N D"], fitted_outputs: Float[Tensor, "E T S"], inputs: Float[Tensor, "B T N D"]
) -> Float64[Tensor, "B_T S"]:
    """Ridge regression on all numbers of a latent."""
    x, asked = (part.double().flatten(2).flatten(0, 1) for part in (fitted_inputs, inputs))
    y = fitted_outputs.double().to(x.device).flatten(0, 1)
    x_mean, y_mean = x.mean(0), y.mean(0)
    weights = ridge_regression(x - x_mean, y - y_mean)
    return (asked - x_mean) @ weights + y_mean
