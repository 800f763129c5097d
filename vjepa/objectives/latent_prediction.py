"""Latent prediction: how far predicted embeddings are from the target encoder's (V-JEPA, arXiv 2404.08471, eq. 1)."""

import torch.nn.functional as F
from torch import Tensor


def normalized_targets(
    tokens: Tensor,  # (B, N, levels * D) of the target encoder
    num_levels: int = 1,
) -> Tensor:  # (B, N, levels * D) float32
    """Each level layer-normed without weights, so that a target's scale says nothing."""
    levels = tokens.float().unflatten(-1, (num_levels, -1))
    return F.layer_norm(levels, levels.shape[-1:]).flatten(-2)


def latent_prediction_loss(
    predicted: Tensor,  # (B, Nt, D)
    target: Tensor,  # (B, Nt, D)
    exponent: float = 1.0,
) -> Tensor:  # ()
    """Mean of |predicted - target|^p / p in fp32; p is 1 in every released recipe."""
    return (predicted.float() - target.float()).abs().pow(exponent).mean() / exponent
