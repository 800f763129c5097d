"""iCEM: the cross-entropy method with coloured noise and reused elites (Pinneri et al. 2020, arXiv 2008.06389)."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.planning.planner import Plan, Problem, initial_actions, require_counts


@final
class ICEM:
    """Fewer samples in each iteration, which reuses some elites of the last one.

    Args:
        horizon: actions of a plan.
        samples, elites, iterations: as of the cross-entropy method, `samples` in the first iteration.
        initial_std, min_std: of the Gaussian, as fractions of the action limit.
        noise_beta: the noise's power at frequency f is f^-beta: 0 white, 2 a random walk.
        decay: divides the number of samples after each iteration, down to twice the elites.
        reused_fraction: of the elites, which are samples of the next iteration, too.
        momentum: weight of the previous mean and deviation in an iteration.
    """

    def __init__(
        self,
        horizon: int = 25,
        samples: int = 256,
        elites: int = 16,
        iterations: int = 6,
        initial_std: float = 0.7,
        min_std: float = 0.05,
        noise_beta: float = 2.0,
        decay: float = 1.25,
        reused_fraction: float = 0.3,
        momentum: float = 0.1,
    ):
        require_counts(horizon, samples, elites, iterations)
        if not decay >= 1 or not 0 <= reused_fraction <= 1:
            raise ValueError(f"decay ({decay}) must be at least 1, reused_fraction ({reused_fraction}) from 0 to 1")
        self.horizon = horizon
        self.samples = samples
        self.elites = elites
        self.iterations = iterations
        self.initial_std = initial_std
        self.min_std = min_std
        self.noise_beta = noise_beta
        self.decay = decay
        self.reused_fraction = reused_fraction
        self.momentum = momentum

    @torch.inference_mode()
    def plan(self, problem: Problem, generator: torch.Generator, previous: Tensor | None = None) -> Plan:
        """The best of all samples."""
        size, limit = problem.limit.size, problem.limit
        mean = limit.bounded(initial_actions(problem, self.horizon, previous))
        deviation = torch.full_like(mean, self.initial_std * size)
        reused = mean[None]
        best, best_cost = mean, float("inf")
        for iteration in range(self.iterations):
            count = max(2 * self.elites, int(self.samples / self.decay**iteration))
            noise = coloured_noise(count, self.horizon, problem.action_dim, self.noise_beta, generator)
            # The last iteration samples the mean itself, which is often better than everything around it.
            first = reused if iteration < self.iterations - 1 else torch.cat((reused, mean[None]))
            actions = limit.bounded(torch.cat((first, mean + deviation * noise)))
            costs = problem.cost(actions)
            order = costs.argsort()[: self.elites]
            elites = actions[order]
            if float(costs[order[0]]) < best_cost:
                best, best_cost = elites[0].clone(), float(costs[order[0]])
            reused = elites[: max(1, int(self.reused_fraction * self.elites))]
            mean = torch.lerp(elites.mean(0), mean, self.momentum)
            spread = elites.std(0, correction=0).clamp(min=self.min_std * size)
            deviation = torch.lerp(spread, deviation, self.momentum)
        return Plan(best, best_cost)


def coloured_noise(
    count: int, horizon: int, action_dim: int, beta: float, generator: torch.Generator
) -> Float[Tensor, "count horizon action_dim"]:  # each of unit variance
    """Normal numbers whose power at frequency f is f^-beta, the lowest frequency's for the mean."""
    frequency = torch.fft.rfftfreq(horizon)
    if horizon > 1:
        frequency[0] = frequency[1]
    else:
        frequency[0] = 1.0
    scale = frequency ** (-beta / 2)
    real, imaginary = torch.randn(2, count, action_dim, len(frequency), generator=generator) * scale
    noise = torch.fft.irfft(torch.complex(real, imaginary), n=horizon)
    # Of expected unit variance, not the sample's: a slow sequence may have one sign throughout.
    power = 4 * scale.square()  # inner frequencies count twice, with their mirror images
    power[0] = scale[0] ** 2
    if horizon % 2 == 0:
        power[-1] = scale[-1] ** 2
    return (noise * horizon / power.sum().sqrt()).transpose(1, 2)
