"""Distance between the weights of two networks."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def weight_distance(network: nn.Module, other: nn.Module) -> float:
    """L2 norm of the difference of two networks of one shape, over the L2 norm of the first."""
    weights: list[Tensor] = list(network.parameters())
    others: list[Tensor] = list(other.parameters())
    differences = torch._foreach_sub(weights, others)
    norms = [torch.stack(torch._foreach_norm(each)).norm() for each in (differences, weights)]
    return float(norms[0] / norms[1].clamp_min(torch.finfo(norms[1].dtype).tiny))
