"""Distance between the weights of two networks."""

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


@torch.no_grad()
def weight_distance(network: nn.Module, other: nn.Module) -> float:
    """L2 norm of the difference of two networks of one shape, over the L2 norm of the first.

    Where they are in shards all ranks have to ask for it.
    """
    weights: list[Tensor] = list(network.parameters())
    others: list[Tensor] = list(other.parameters())
    differences = torch._foreach_sub(weights, others)
    norms = [torch.stack(torch._foreach_norm(each)).norm() for each in (differences, weights)]
    first, second = (norm.full_tensor() if isinstance(norm, DTensor) else norm for norm in norms)
    return float(first / second.clamp_min(torch.finfo(second.dtype).tiny))
