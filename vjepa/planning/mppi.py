"""MPPI, model predictive path integral: samples weighted by their costs (Williams et al. 2015, arXiv 1509.01149)."""

from typing import final

import torch
from torch import Tensor

from vjepa.planning.planner import Plan, Problem, correlated_noise, initial_actions, require_counts


@final
class MPPI:
    """The mean moves to the average of samples, weighted by exp(-cost / temperature).

    Args:
        horizon: actions of a plan.
        samples, iterations: sequences drawn in each iteration.
        temperature: in standard deviations of the samples' costs, so that it needs no tuning to their scale.
        std: of the noise, as fractions of the action limit; multiplied by `decay` after each iteration.
        noise_correlation: between successive actions.
    """

    def __init__(
        self,
        horizon: int = 25,
        samples: int = 256,
        iterations: int = 8,
        temperature: float = 0.1,
        std: float = 0.7,
        decay: float = 0.8,
        noise_correlation: float = 0.8,
    ):
        require_counts(horizon, samples, 1, iterations)
        if not temperature > 0:
            raise ValueError(f"temperature ({temperature}) must be more than 0")
        self.horizon = horizon
        self.samples = samples
        self.iterations = iterations
        self.temperature = temperature
        self.std = std
        self.decay = decay
        self.noise_correlation = noise_correlation

    @torch.inference_mode()
    def plan(self, problem: Problem, generator: torch.Generator, previous: Tensor | None = None) -> Plan:
        """The mean after the last iteration."""
        limit, std = problem.limit, self.std * problem.limit.size
        mean = limit.bounded(initial_actions(problem, self.horizon, previous))
        for _ in range(self.iterations):
            noise = correlated_noise(self.samples, self.horizon, problem.action_dim, self.noise_correlation, generator)
            actions = limit.bounded(mean + std * noise)
            actions[0] = mean
            costs = problem.cost(actions)
            weights = (-(costs - costs.min()) / (self.temperature * costs.std().clamp(min=1e-12))).softmax(0)
            mean = limit.bounded((weights[:, None, None] * actions).sum(0))
            std *= self.decay
        return Plan(mean, float(problem.cost(mean[None])))
