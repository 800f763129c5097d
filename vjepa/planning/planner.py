"""What a planner is: a search for the actions that cost least, for one episode at a time.

Episodes are planned one by one, each with a random generator of its own, so that a plan never depends on which other
episodes are run beside it: kernels round in another way for other batch sizes, and a search makes much of little.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.planning.cost import Cost
from vjepa.planning.limits import ActionLimit


class Problem(NamedTuple):
    """One episode, now."""

    cost: Cost
    latent: Float[Tensor, "N D"]  # of now
    goal: Float[Tensor, "N D"]
    action_dim: int  # numbers of an action of the plan
    limit: ActionLimit


class Plan(NamedTuple):
    """What a planner found."""

    actions: Float[Tensor, "H A"]  # within the limit
    cost: float  # what the planner thinks it costs


@runtime_checkable
class Planner(Protocol):
    """Actions for one episode; all that is random comes from the generator."""

    horizon: int  # actions of a plan

    def plan(
        self,
        problem: Problem,
        generator: torch.Generator,
        previous: Float[Tensor, "H A"] | None = None,  # what is left of the plan before, to start from
    ) -> Plan: ...


def correlated_noise(
    count: int, horizon: int, action_dim: int, correlation: float, generator: torch.Generator
) -> Float[Tensor, "count horizon action_dim"]:  # each of unit variance
    """Normal numbers that follow one another: sampled paths lead somewhere, and don't tremble in one place."""
    white = torch.randn(horizon, count, action_dim, generator=generator)
    if correlation == 0:
        return white.transpose(0, 1)
    fresh = (1 - correlation**2) ** 0.5
    steps = [white[0]]
    for noise in white[1:]:
        steps.append(correlation * steps[-1] + fresh * noise)
    return torch.stack(steps, dim=1)


def start_of(problem: Problem, horizon: int, previous: Tensor | None) -> Float[Tensor, "H A"]:
    """The sequence that a search starts from: the previous plan, or no action. Raises ValueError on another shape."""
    if previous is None:
        return torch.zeros(horizon, problem.action_dim)
    if previous.shape != (horizon, problem.action_dim):
        raise ValueError(
            f"a previous plan of shape {tuple(previous.shape)} can't be gone on with; it must be ({horizon} actions, "
            f"{problem.action_dim} numbers)"
        )
    return previous


def require_counts(horizon: int, samples: int, elites: int, iterations: int) -> None:
    """Raise ValueError where a search by samples can't be."""
    if min(horizon, samples, elites, iterations) < 1:
        raise ValueError(
            f"horizon ({horizon}), samples ({samples}), elites ({elites}) and iterations ({iterations}) must be at "
            f"least 1"
        )
    if elites > samples:
        raise ValueError(f"elites ({elites}) can't be more than samples ({samples})")
