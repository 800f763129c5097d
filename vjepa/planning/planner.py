"""Planners: a search for the actions of least cost, for one episode at a time.

Each episode is planned separately with its own random generator, so that a plan does not depend on the episodes that
run beside it: kernels round differently for other batch sizes, and a search amplifies such differences.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.planning.cost import Cost
from vjepa.planning.limits import ActionLimit


class Problem(NamedTuple):
    """The present of one episode."""

    cost: Cost
    latent: Float[Tensor, "N D"]  # of the present
    goal: Float[Tensor, "N D"]
    action_dim: int  # numbers of an action of the plan
    limit: ActionLimit


class Plan(NamedTuple):
    """The result of a search."""

    actions: Float[Tensor, "H A"]  # within the limit
    cost: float  # as the planner estimates it


@runtime_checkable
class Planner(Protocol):
    """A search for the actions of one episode. Its only randomness is the generator's."""

    horizon: int  # actions of a plan

    def plan(
        self,
        problem: Problem,
        generator: torch.Generator,
        previous: Float[Tensor, "H A"] | None = None,  # the rest of the last plan, to start from
    ) -> Plan: ...


def correlated_noise(
    count: int, horizon: int, action_dim: int, correlation: float, generator: torch.Generator
) -> Float[Tensor, "count horizon action_dim"]:  # each of unit variance
    """Normal numbers correlated over time, so that sampled paths cover distance."""
    white = torch.randn(horizon, count, action_dim, generator=generator)
    if correlation == 0:
        return white.transpose(0, 1)
    fresh = (1 - correlation**2) ** 0.5
    steps = [white[0]]
    for noise in white[1:]:
        steps.append(correlation * steps[-1] + fresh * noise)
    return torch.stack(steps, dim=1)


def initial_actions(problem: Problem, horizon: int, previous: Tensor | None) -> Float[Tensor, "H A"]:
    """The sequence that a search starts from: the previous plan, or zeros. Raises ValueError on another shape."""
    if previous is None:
        return torch.zeros(horizon, problem.action_dim)
    if previous.shape != (horizon, problem.action_dim):
        raise ValueError(
            f"a previous plan of shape {tuple(previous.shape)} does not fit; it must be ({horizon} actions, "
            f"{problem.action_dim} numbers)"
        )
    return previous


def require_counts(horizon: int, samples: int, elites: int, iterations: int) -> None:
    """Raise ValueError where the counts of a search do not fit."""
    if min(horizon, samples, elites, iterations) < 1:
        raise ValueError(
            f"horizon ({horizon}), samples ({samples}), elites ({elites}) and iterations ({iterations}) must be at "
            f"least 1"
        )
    if elites > samples:
        raise ValueError(f"elites ({elites}) must not be more than samples ({samples})")
