"""Context prediction: visible tokens are predicted too (V-JEPA 2.1, arXiv 2603.14482).

Without it no loss makes a context token describe its own position, and dense features suffer. Tokens near a hidden part
weigh more, since less of their surroundings is visible.
"""

from typing import final

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from vjepa.grid import TokenGrid, gather_tokens
from vjepa.masking import TubeMask
from vjepa.models import Predictor, VideoEncoder
from vjepa.objectives.latent_prediction import Distance, token_distances
from vjepa.objectives.term import ClipStep, ClipTerm, TermValue


@final
class ContextPrediction(ClipTerm):
    """Mean weighted distance of visible tokens to their predictions, averaged over masks.

    Args:
        video_weight: weight on videos after the ramp; 0.5 as released.
        image_weight: weight on images; 0.5 in the released recipes, 0.7 in the paper.
        by_distance: a token weighs 1 over the root of its distance to the nearest hidden token; otherwise 1.
        ramp: steps between which the weight rises from 0; constant if None (as in a cooldown).
        distance_unit: tokens that count as one in the distance; released for larger crops: height of the grid / 16.
        exponent, distance: as for `LatentPrediction`.
    """

    averages_clips = True
    reads_context_predictions = True

    def __init__(
        self,
        video_weight: float = 0.5,
        image_weight: float = 0.5,
        by_distance: bool = True,
        ramp: tuple[int, int] | None = (15_000, 30_000),
        distance_unit: float = 1.0,
        exponent: float = 1.0,
        distance: Distance = "power",
    ):
        super().__init__()
        if ramp is not None and not 0 <= ramp[0] < ramp[1]:
            raise ValueError(f"ramp {ramp} must be two steps, the first one earlier")
        self.video_weight = video_weight
        self.image_weight = image_weight
        self.by_distance = by_distance
        self.ramp = ramp
        self.distance_unit = distance_unit
        self.exponent = exponent
        self.distance: Distance = distance

    def check_networks(self, encoder: VideoEncoder, predictor: Predictor | None) -> None:
        super().check_networks(encoder, predictor)
        assert predictor is not None
        if predictor.context_proj is None:
            raise ValueError("context prediction needs a predictor with predict_context: true")

    def forward(self, step: ClipStep) -> TermValue:
        assert step.targets is not None  # there is a predictor
        losses = [
            self.token_losses(predicted, gather_tokens(step.targets, mask.context_ids), mask, step.grid).mean()
            for predicted, mask in zip(step.context_predictions, step.masks, strict=True)
        ]
        loss = torch.stack(losses).mean()
        return TermValue(self.weight(step.number, step.is_image) * loss, {self.name: loss})

    def weight(self, step: int, is_image: bool) -> float:
        """The weight at a step, from 0."""
        full = self.image_weight if is_image else self.video_weight
        if self.ramp is None:
            return full
        start, end = self.ramp
        return full * min(1.0, max(0.0, (step - start) / (end - start)))

    def token_losses(
        self,
        predicted: Float[Tensor, "B Nc D"],
        target: Float[Tensor, "B Nc D"],
        mask: TubeMask,
        grid: TokenGrid,
    ) -> Float32[Tensor, "B Nc _"]:
        """Weighted distance of each visible token."""
        error = token_distances(predicted, target, self.exponent, self.distance)
        return error / distance_to_hidden(mask, grid, self.distance_unit).unsqueeze(-1) if self.by_distance else error


def distance_to_hidden(mask: TubeMask, grid: TokenGrid, unit: float = 1.0) -> Float32[Tensor, "B Nc"]:
    """Root of the distance from each context token to the nearest hidden one, on the grid of tokens."""
    context, hidden = (grid.positions(ids).float() for ids in mask)
    return (torch.cdist(context, hidden).amin(dim=-1) / unit).sqrt()
