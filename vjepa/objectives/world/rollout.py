"""Latent prediction: rollouts of several steps, and single steps from true latents (teacher forcing)."""

from typing import final, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.objectives.latent_prediction import Distance, latent_prediction_loss
from vjepa.objectives.world.step import WindowStep, WindowTerm


class LatentDistance(WindowTerm):
    """Mean distance of predicted latents to their targets.

    Args:
        weight: of the term.
        exponent: p of the mean of |error|^p / p; 2 is half of the squared error.
        distance: as of `vjepa.objectives.LatentPrediction`.
    """

    def __init__(self, weight: float = 1.0, exponent: float = 2.0, distance: Distance = "power"):
        super().__init__(weight)
        if distance not in get_args(Distance):
            raise ValueError(f"distance '{distance}' must be one of {', '.join(get_args(Distance))}")
        self.exponent = exponent
        self.distance: Distance = distance

    @property
    def dynamics_weight(self) -> float:
        return self.weight

    def distance_between(
        self, predicted: Float[Tensor, "B K N D"], targets: Float[Tensor, "B K N D"]
    ) -> Float[Tensor, ""]:
        return latent_prediction_loss(predicted, targets, self.exponent, self.distance)


@final
class Rollout(LatentDistance):
    """Dynamics fed with their own predictions, as V-JEPA 2-AC's rollout loss (arXiv 2506.09985, section 3.1).

    Dynamics that look at one frame start from every frame of a window.
    """

    def value(self, step: WindowStep) -> Float[Tensor, ""]:
        if step.rollouts is None:
            return self.distance_between(step.predictions, step.targets[:, step.predicted_frames])
        targets = [step.targets[:, num_steps:] for num_steps in range(1, len(step.rollouts) + 1)]
        return self.distance_between(torch.cat(step.rollouts, dim=1), torch.cat(targets, dim=1))


@final
class TeacherForcing(LatentDistance):
    """Single steps, each from true latents (V-JEPA 2-AC's teacher-forcing loss)."""

    def value(self, step: WindowStep) -> Float[Tensor, ""]:
        states = None if step.states is None else step.states[:, :-1]
        predicted = step.dynamics(step.latents[:, :-1], step.actions, states, step.extrinsics)
        return self.distance_between(predicted, step.targets[:, 1:])
