"""SIGReg: embeddings must be distributed as an isotropic Gaussian, seen along random directions (LeJEPA).

Balestriero and LeCun 2025, arXiv 2511.08544. Along a unit direction a the embeddings z of N clips must be standard
normal: their characteristic function phi(t) = mean over clips of exp(i t a.z) must be exp(-t^2 / 2). The distance is
that of Epps and Pulley:

    gaussianity = mean over directions of the integral over t of |phi(t) - exp(-t^2 / 2)|^2 exp(-t^2 / 2)

The published statistic is N times this, so that its weight depends on the batch: 0.05 at N = 128 there is 6.4 here.
N clips of a true Gaussian have 1.06 / N, clips that are all alike at least 0.41.
"""

from collections.abc import Sequence
from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from vjepa.objectives.global_batch import averaged
from vjepa.objectives.projector import Projector
from vjepa.objectives.regularizer import Over, Regularizer, squared_difference
from vjepa.objectives.term import TermValue


@final
class SIGReg(Regularizer):
    """Sketched isotropic Gaussian regularization, one number to weigh.

    Args:
        over, projector: as for `Regularizer`.
        weight: of the sum of both parts, beside the prediction loss.
        invariance_weight: of the mean squared difference of predicted and target embeddings (0 over places), beside the
            distance to a Gaussian, whose weight is 1.
        num_directions: random directions, drawn anew at each step.
        num_points, max_t: where the characteristic function is compared: evenly from 0 to `max_t`, and mirrored.
        seed: of the directions, which are a function of it and the step.
    """

    def __init__(
        self,
        over: Over = "clips",
        projector: Projector | None = None,
        weight: float = 5.0,
        invariance_weight: float = 0.2,
        num_directions: int = 256,
        num_points: int = 17,
        max_t: float = 5.0,
        seed: int = 0,
    ):
        super().__init__(projector, over)
        if num_directions < 1 or num_points < 2:
            raise ValueError(
                f"num_directions ({num_directions}) must be at least 1 and num_points ({num_points}) at least 2"
            )
        self.weight = weight
        self.invariance_weight = invariance_weight
        self.num_directions = num_directions
        self.num_points = num_points
        self.max_t = max_t
        self.seed = seed

    def compare(
        self, embeddings: Sequence[Float32[Tensor, "B *places E"]], step: int, anchored: bool = False
    ) -> TermValue:
        first = embeddings[0]
        directions = unit_directions(first.shape[-1], self.num_directions, self.seed, step).to(first.device)
        points = torch.linspace(0, self.max_t, self.num_points, device=first.device)
        invariance = averaged(squared_difference(embeddings, anchored))
        gaussianity = torch.stack([epps_pulley(part, directions, points) for part in embeddings]).mean()
        return TermValue(
            self.weight * (self.invariance_weight * invariance + gaussianity),
            {"invariance": invariance, "gaussianity": gaussianity},
        )


def unit_directions(
    width: int, num_directions: int, seed: int, step: int
) -> Float32[Tensor, "{width} {num_directions}"]:
    """Evenly from the sphere, the same on every rank and in every run that comes to this step."""
    drawn = np.random.default_rng((seed, step)).standard_normal((width, num_directions), dtype=np.float32)
    return F.normalize(torch.from_numpy(drawn), dim=0)


def epps_pulley(
    embeddings: Float[Tensor, "B *places E"],  # of this rank
    directions: Float[Tensor, "E K"],
    points: Float[Tensor, " T"],  # evenly from 0
) -> Float[Tensor, ""]:
    """The statistic over all ranks' clips, averaged over directions and over what lies between clips and features."""
    with torch.autocast(embeddings.device.type, enabled=False):
        angles = (embeddings @ directions).unsqueeze(-1) * points  # (B, ..., K, T)
    # The Gaussian's characteristic function is real: the imaginary part must vanish.
    real, imaginary = averaged(torch.stack((angles.cos().mean(0), angles.sin().mean(0))))
    gaussian = (-points.square() / 2).exp()
    difference = ((real - gaussian).square() + imaginary.square()) * gaussian
    return 2 * torch.trapezoid(difference, points, dim=-1).mean()  # twice: it is even in t
