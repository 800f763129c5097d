"""The planning cost: distances between the goal and the latents that the model imagines along a plan."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

Over = Literal["path", "last"]
Cost = Callable[[Tensor], Tensor]  # action sequences (S, H, A) to costs (S,)
Imagine = Callable[[Tensor], Tensor]  # action sequences (S, H, A) to latents (S, H, N, D)
DistanceToGoal = Callable[[Tensor], Tensor]  # latents (S, H, N, D) to distances (S, H)


def goal_cost(
    imagine: Imagine,
    distance: DistanceToGoal,
    over: Over = "path",
    terminal_weight: float = 1.0,
    samples_per_pass: int | None = None,
) -> Cost:
    """Distance between imagined latents and the goal's, summed over the path, or of its last step.

    Over the path early arrival costs less, and walls on the way count; over the last step alone they do not (EB-JEPA:
    97 against 89 % of episodes).

    Args:
        imagine: the model, from the present.
        distance: to the goal.
        over: "path" or "last".
        terminal_weight: of the last step of a path; the others have 1.
        samples_per_pass: sequences that are imagined at once, to bound memory; all if None.
    """
    if over not in get_args(Over):
        raise ValueError(f"cost over '{over}' must be one of {', '.join(get_args(Over))}")

    def cost(actions: Tensor) -> Tensor:
        parts = actions.split(samples_per_pass or len(actions))
        return torch.cat([path_cost(distance(imagine(part))) for part in parts])

    def path_cost(distances: Float[Tensor, "S H"]) -> Float[Tensor, " S"]:
        if over == "last":
            return distances[:, -1]
        return distances.sum(1) + (terminal_weight - 1) * distances[:, -1]

    return cost


def squared_difference(goal: Float[Tensor, "N D"]) -> DistanceToGoal:
    """Mean squared difference from the goal's latents."""
    return lambda latents: (latents - goal).square().mean((-2, -1))
