"""A gradient planner: Adam on actions, by the gradient of the cost through the imagined path (DINO-WM, 2411.04983)."""

from typing import final

import torch
from torch import Tensor

from vjepa.planning.planner import Plan, Problem, correlated_noise, initial_actions, require_counts


@final
class GradientPlanner:
    """Adam on several sequences at once, bounded after each step.

    Args:
        horizon: actions of a plan.
        starts: sequences; the first is the previous plan, the others have noise added.
        steps: of Adam.
        learning_rate: as fractions of the action limit.
        initial_std, noise_correlation: of the starts' noise.
    """

    def __init__(
        self,
        horizon: int = 25,
        starts: int = 8,
        steps: int = 30,
        learning_rate: float = 0.1,
        initial_std: float = 0.5,
        noise_correlation: float = 0.8,
    ):
        require_counts(horizon, starts, 1, steps)
        self.horizon = horizon
        self.starts = starts
        self.steps = steps
        self.learning_rate = learning_rate
        self.initial_std = initial_std
        self.noise_correlation = noise_correlation

    @torch.enable_grad()
    def plan(self, problem: Problem, generator: torch.Generator, previous: Tensor | None = None) -> Plan:
        """The cheapest sequence after the last step."""
        limit, size = problem.limit, problem.limit.size
        mean = initial_actions(problem, self.horizon, previous)
        noise = correlated_noise(self.starts, self.horizon, problem.action_dim, self.noise_correlation, generator)
        noise[0] = 0
        actions = limit.bounded(mean + self.initial_std * size * noise).clone().requires_grad_()
        optimizer = torch.optim.Adam([actions], lr=self.learning_rate * size)
        for _ in range(self.steps):
            (actions.grad,) = torch.autograd.grad(problem.cost(actions).sum(), actions)
            optimizer.step()
            with torch.no_grad():
                actions.copy_(limit.bounded(actions))
        with torch.no_grad():
            costs = problem.cost(actions)
        return Plan(actions.detach()[costs.argmin()], float(costs.min()))
