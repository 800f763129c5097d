"""Context prediction: the predictor must say what the visible tokens are, too (V-JEPA 2.1, arXiv 2603.14482).

Without it nothing asks that a context token hold what is at its own place, and dense features suffer. Near a hidden
part tokens weigh more: there is less to see of what they are.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from vjepa.grid import TokenGrid
from vjepa.masking import TubeMask
from vjepa.objectives.latent_prediction import Distance, token_distances


@dataclass(frozen=True)
class ContextPrediction:
    """The weight of the context loss beside the prediction loss, and of each token in it.

    Args:
        video_weight: on videos, when it has fully come in; 0.5 as released.
        image_weight: on images; 0.5 in the released recipes, 0.7 in the paper.
        by_distance: a token weighs 1 over the root of its distance to the nearest hidden token; otherwise all alike.
        ramp: steps between which the weight rises from 0; there at once if None (as in a cooldown).
        distance_unit: tokens that count as one in the distance; released for larger crops: height of the grid / 16.
    """

    video_weight: float = 0.5
    image_weight: float = 0.5
    by_distance: bool = True
    ramp: tuple[int, int] | None = (15_000, 30_000)
    distance_unit: float = 1.0

    def __post_init__(self) -> None:
        if self.ramp is not None and not 0 <= self.ramp[0] < self.ramp[1]:
            raise ValueError(f"ramp {self.ramp} must be two steps, the first one earlier")

    def weight(self, step: int, is_image: bool) -> float:
        """The weight at a step, from 0."""
        full = self.image_weight if is_image else self.video_weight
        if self.ramp is None:
            return full
        start, end = self.ramp
        return full * min(1.0, max(0.0, (step - start) / (end - start)))

    def loss(
        self,
        predicted: Tensor,  # (B, Nc, D)
        target: Tensor,  # (B, Nc, D)
        mask: TubeMask,
        grid: TokenGrid,
        exponent: float = 1.0,
        distance: Distance = "power",
    ) -> Tensor:  # ()
        """Mean of weight * distance in fp32, the distance of the prediction loss."""
        error = token_distances(predicted, target, exponent, distance)
        if self.by_distance:
            error = error / distance_to_hidden(mask, grid, self.distance_unit).unsqueeze(-1)
        return error.mean()


def distance_to_hidden(
    mask: TubeMask,
    grid: TokenGrid,
    unit: float = 1.0,
) -> Tensor:  # (B, Nc) float32
    """Root of the distance from each context token to the nearest hidden one, on the grid of tokens."""
    context, hidden = (grid.positions(ids).float() for ids in mask)
    return (torch.cdist(context, hidden).amin(dim=-1) / unit).sqrt()
