"""How far two networks of one shape are apart."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def weight_distance(
    network: nn.Module,
    other: nn.Module,  # of the same shape
) -> float:
    """L2 norm of the difference of all weights over that of the weights of `network`; 0 where they are equal."""
    weights: list[Tensor] = list(network.parameters())
    others: list[Tensor] = list(other.parameters())
    differences = torch._foreach_sub(weights, others)
    norms = [torch.stack(torch._foreach_norm(each)).norm() for each in (differences, weights)]
    return float(norms[0] / norms[1].clamp_min(torch.finfo(norms[1].dtype).tiny))
