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

from vjepa.evaluation.token_statistics import effective_rank, feature_std

RIDGE = 1e-4  # share of the latents' mean variance


class Windows(NamedTuple):
    """Windows of validation episodes, as the model sees them."""

    latents: Tensor  # (B, T, N, D) of their frames
    rolled: Tensor  # (B, T - 1, N, D) imagined from the first frame, by their actions
    rolled_by_others: Tensor  # (B, T - 1, N, D) by the actions of other windows
    actions: Tensor  # (B, T - 1, A) normalised
    states: Tensor  # (B, T, S); S may be 0


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
def world_model_health(windows: Windows) -> dict[str, float]:
    """Each number by its name; docs/world-models.md says how to read them."""
    latents = windows.latents.float()
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
        "inverse_error": _unexplained(torch.cat((latents[:, :-1], latents[:, 1:]), dim=2), windows.actions),
    }
    if changes.shape[1] > 1:
        health["straightness"] = float(F.cosine_similarity(changes[:, :-1], changes[:, 1:], dim=-1).mean())
    if windows.states.shape[-1]:
        health["state_error"] = state_error(latents, windows.states)
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


def state_error(
    latents: Tensor,  # (B, T, N, D)
    states: Tensor,  # (B, T, S)
) -> float:
    """Mean distance, in the world's unit, between states and what a linear read-out says of them.

    It is fitted on the first two thirds of the windows and asked about the others. A share of variance would not do: it
    is as good on latents a thousand times smaller, in which no distance means anything.
    """
    said, true = _said_by_read_out(latents, states)
    return float(torch.linalg.vector_norm(said - true, dim=-1).mean())


def _unexplained(
    inputs: Tensor,  # (B, T, N, D)
    outputs: Tensor,  # (B, T, A)
) -> float:
    """Squared error of a linear read-out, in shares of the variance."""
    said, true = _said_by_read_out(inputs, outputs)
    if not len(true):
        return math.nan
    return float((said - true).square().mean() / true.var(dim=0, correction=0).mean().clamp_min(1e-12))


def _said_by_read_out(
    inputs: Tensor,  # (B, T, N, D)
    outputs: Tensor,  # (B, T, S)
) -> tuple[Tensor, Tensor]:  # (R, S) each, of the last third of the windows
    split = max(1, len(inputs) * 2 // 3)
    x, y = inputs.double().flatten(2), outputs.double().to(inputs.device)
    fitted_x, fitted_y = x[:split].flatten(0, 1), y[:split].flatten(0, 1)
    x_mean, y_mean = fitted_x.mean(0), fitted_y.mean(0)
    centred = fitted_x - x_mean
    weights = _ridge(centred, fitted_y - y_mean)
    return (x[split:].flatten(0, 1) - x_mean) @ weights + y_mean, y[split:].flatten(0, 1)


def _ridge(
    x: Tensor,  # (R, F) centred
    y: Tensor,  # (R, S) centred
) -> Tensor:  # (F, S)
    """Solved on the smaller side: features, or rows. Unpooled latents have a hundred thousand features."""
    rows, features = x.shape
    penalty = RIDGE * rows * x.square().mean() + 1e-9
    eye = torch.eye(min(rows, features), dtype=x.dtype, device=x.device)
    if features <= rows:
        return torch.linalg.solve(x.T @ x + penalty * eye, x.T @ y)
    return x.T @ torch.linalg.solve(x @ x.T + penalty * eye, y)
