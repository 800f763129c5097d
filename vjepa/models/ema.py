"""The moving average of an encoder that gives the targets (mean teacher; BYOL, arXiv 2006.07733)."""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

Network = TypeVar("Network", bound=nn.Module)


def frozen_copy(module: Network) -> Network:
    """A copy that no gradient reaches, in evaluation mode."""
    return copy.deepcopy(module).requires_grad_(False).eval()


@torch.no_grad()
def update_ema(
    target: nn.Module,
    source: nn.Module,
    momentum: float,  # 1 leaves the target as it is, 0 copies the source
) -> None:
    """target = momentum * target + (1 - momentum) * source, for all parameters at once."""
    torch._foreach_lerp_(_own_shards(target), _own_shards(source), 1.0 - momentum)


def _own_shards(module: nn.Module) -> list[Tensor]:
    """The parameters, or this rank's shards of them: both networks are sharded alike."""
    return [part.to_local() if isinstance(part, DTensor) else part for part in module.parameters()]
