"""Pixel prediction: how far predicted pixels of hidden tubelets are from the true ones (VideoMAE, arXiv 2203.12602)."""

import torch.nn.functional as F
from torch import Tensor


def normalized_tubelets(
    pixels: Tensor,  # (B, N, C * pixels of a colour)
    num_colours: int = 3,
    eps: float = 1e-6,
) -> Tensor:  # (B, N, C * pixels of a colour) float32
    """Each colour of each tubelet to zero mean and unit variance, so that brightness and contrast say nothing.

    As in the released code: the variance is the unbiased one, and `eps` is added to its root.
    """
    colours = pixels.float().unflatten(-1, (num_colours, -1))
    spread = colours.std(dim=-1, keepdim=True) + eps
    return ((colours - colours.mean(dim=-1, keepdim=True)) / spread).flatten(-2)


def pixel_prediction_loss(
    predicted: Tensor,  # (B, Nt, P)
    pixels: Tensor,  # (B, Nt, P)
) -> Tensor:  # ()
    """Mean squared error in fp32."""
    return F.mse_loss(predicted.float(), pixels.float())
