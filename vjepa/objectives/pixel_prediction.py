"""Pixel prediction: how far predicted pixels of hidden tubelets are from the true ones (VideoMAE, arXiv 2203.12602)."""

import torch.nn.functional as F
from torch import Tensor

from vjepa.grid import TokenGrid


def tubelet_pixels(
    clips: Tensor,  # (B, C, T, H, W)
    tubelet: tuple[int, int, int],  # frames, height, width of one token
) -> Tensor:  # (B, N, C * frames * height * width): all of the first colour, then all of the next
    """The pixels behind each token, tokens in the order of the grid."""
    frames, height, width = tubelet
    cut = clips.unflatten(4, (-1, width)).unflatten(3, (-1, height)).unflatten(2, (-1, frames))
    return cut.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4).flatten(1, 3)


def clips_of_tubelets(
    pixels: Tensor,  # (B, N, C * frames * height * width)
    grid: TokenGrid,
    tubelet: tuple[int, int, int],
) -> Tensor:  # (B, C, T, H, W)
    """Clips out of their tubelets: `tubelet_pixels` undone."""
    cut = pixels.unflatten(2, (-1, *tubelet)).unflatten(1, tuple(grid))  # (B, t, h, w, C, frames, height, width)
    return cut.permute(0, 4, 1, 5, 2, 6, 3, 7).flatten(6).flatten(4, 5).flatten(2, 3)


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
