"""Is a world model fit to plan with? Numbers that catch what deviation and rank alone do not.

A model may spread its latents well and hold nothing but the walls (facts of ours: deviation 0.98, rank 3.5 of 32, the
agent nowhere to be read); so the agent is asked for, in the world's own units, and the actions are.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vjepa.evaluation.planning.ridge_regression import ridge_regression
from vjepa.evaluation.token_statistics import effective_rank, feature_std


class Windows(NamedTuple):
    """Windows of validation episodes, as the model sees them."""

    latents: Tensor  # (B, T, N, D) of their frames
    rolled: Tensor  # (B, T - 1, N, D) imagined from the first frame, by their actions
    rolled_by_others: Tensor  # (B, T - 1, N, D) by the actions of other windows
    actions: Tensor  # (B, T - 1, A) normalised
    states: Tensor  # (B, T, S); S may be 0


class Examples(NamedTuple):
    """Windows of other episodes, on which read-outs are fitted."""

    latents: Tensor  # (E, T, N, D)
    actions: Tensor  # (E, T - 1, A) normalised
    states: Tensor  # (E, T, S)


@dataclass(frozen=True)
class HealthLimitsOfWorldModel:
    """Beyond which a world model is called sick.

    Args:
        least_rank: of latents, centred; below it they are collapsed.
        least_std: of latents.
        largest_inverse_error: error of actions that are read from two latents, in shares of their variance; beyond it
            latents don't hold the agent. A quarter of it can't be read from random actions within a block.
        largest_error_over_change: of imagined latents, in shares of what really changes; 1 says that nothing moves.
        least_sensitivity: error with the actions of others over that with the true ones; 1 says that they don't matter.
    """

    least_rank: float = 1.5
    least_std: float = 0.05
    largest_inverse_error: float = 0.8
    largest_error_over_change: float = 0.7
    least_sensitivity: float = 1.5


@torch.no_grad()
def world_model_health(windows: Windows, examples: Examples | None = None) -> dict[str, float]:
    """Each number by its name; docs/world-models.md says how to read them.

    Read-outs are fitted on examples of training episodes and asked about all windows; without examples, on the first
    two thirds of the windows and asked about the others. A handful of validation episodes is too few to fit on: on ten
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
    """ "healthy", or what ails a model, in words. Numbers that are none are no health."""
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
    """Mean distance, in the world's unit, between states and what a linear read-out says of them.

    A share of variance would not do: it is as good on latents a thousand times smaller, in which no distance means
    anything.
    """
    said = _said_by_read_out(fitted.latents, fitted.states, asked.latents)
    return float(torch.linalg.vector_norm(said - asked.states.flatten(0, 1).to(said), dim=-1).mean())


def _inverse_error(fitted: Examples, asked: Examples) -> float:
    """Squared error of actions that a linear read-out finds in the latents around them, in shares of their variance."""
    pairs, asked_pairs = (torch.cat((part[:, :-1], part[:, 1:]), dim=2) for part in (fitted.latents, asked.latents))
    said = _said_by_read_out(pairs, fitted.actions, asked_pairs)
    if not len(said):
        return math.nan
    true = asked.actions.flatten(0, 1).to(said)
    return float((said - true).square().mean() / true.var(dim=0, correction=0).mean().clamp_min(1e-12))


def _said_by_read_out(
    fitted_inputs: Tensor,  # (E, T, N, D)
    fitted_outputs: Tensor,  # (E, T, S)
    inputs: Tensor,  # (B, T, N, D)
) -> Tensor:  # (B * T, S) float64
    """Ridge regression, linear in all numbers of a latent."""
    x, asked = (part.double().flatten(2).flatten(0, 1) for part in (fitted_inputs, inputs))
    y = fitted_outputs.double().to(x.device).flatten(0, 1)
    x_mean, y_mean = x.mean(0), y.mean(0)
    weights = ridge_regression(x - x_mean, y - y_mean)
    return (asked - x_mean) @ weights + y_mean
