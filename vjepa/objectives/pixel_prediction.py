"""Pixel prediction: how far predicted pixels of hidden tubelets are from the true ones (VideoMAE, arXiv 2203.12602)."""

from typing import final

import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from vjepa.objectives.term import ClipStep, ClipTerm, TermValue, mean_over_masks


@final
class PixelPrediction(ClipTerm):
    """Mean squared error of the pixels of hidden tubelets, averaged over masks."""

    averages_clips = True

    def forward(self, step: ClipStep) -> TermValue:
        return mean_over_masks(step, pixel_prediction_loss)


def normalized_tubelets(
    pixels: Float[Tensor, "B N P"],
    num_colours: int = 3,
    eps: float = 1e-6,
) -> Float32[Tensor, "B N P"]:
    """Each colour of each tubelet to zero mean and unit variance, so that brightness and contrast say nothing.

    As in the released code: the variance is the unbiased one, and `eps` is added to its root.
    """
    colours = pixels.float().unflatten(-1, (num_colours, -1))
    spread = colours.std(dim=-1, keepdim=True) + eps
    return ((colours - colours.mean(dim=-1, keepdim=True)) / spread).flatten(-2)


def pixel_prediction_loss(predicted: Float[Tensor, "B Nt P"], pixels: Float[Tensor, "B Nt P"]) -> Float32[Tensor, ""]:
    """Mean squared error in fp32."""
    return F.mse_loss(predicted.float(), pixels.float())
