"""Latent prediction: how far predicted embeddings are from the target encoder's (V-JEPA, arXiv 2404.08471, eq. 1)."""

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor

Distance = Literal["power", "smooth_l1", "cosine"]


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
    distance: Distance = "power",
) -> Tensor:  # ()
    """Mean distance in fp32; in every released recipe that of |predicted - target|."""
    return token_distances(predicted, target, exponent, distance).mean()


def token_distances(
    predicted: Tensor,  # (B, K, D)
    target: Tensor,  # (B, K, D)
    exponent: float = 1.0,
    distance: Distance = "power",
) -> Tensor:  # (B, K, D), or (B, K, 1) where tokens are compared as a whole
    """How far each predicted token is from its target, in fp32.

    "power": |error|^p / p with p the exponent, so L1 by 1 and half of the squared error by 2. "smooth_l1": half of the
    squared error up to 1, |error| - 0.5 from there. "cosine": 1 - cosine, 0 to 2, blind to lengths.
    """
    predicted, target = predicted.float(), target.float()
    if distance == "power":
        return (predicted - target).abs().pow(exponent) / exponent
    if distance == "smooth_l1":
        return F.smooth_l1_loss(predicted, target, reduction="none")
    if distance == "cosine":
        return 1 - F.cosine_similarity(predicted, target, dim=-1).unsqueeze(-1)
    raise ValueError(f"distance '{distance}' must be one of {', '.join(get_args(Distance))}")
