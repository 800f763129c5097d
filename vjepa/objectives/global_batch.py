"""Statistics over the global batch: several ranks compute what one rank would, gradients included.

Each rank holds the whole term, and gradients that are too large by the number of ranks; DDP's average over ranks
corrects that.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def gathered(embeddings: Float[Tensor, "B ..."]) -> Float[Tensor, "global_B ..."]:
    """Embeddings of all ranks, with their gradients."""
    if not _has_ranks():
        return embeddings
    parts = [torch.zeros_like(embeddings) for _ in range(torch.distributed.get_world_size())]
    parts[torch.distributed.get_rank()] = embeddings
    return _summed(torch.cat(parts))


def gathered_sets(embeddings: Sequence[Float[Tensor, "B ..."]]) -> list[Float[Tensor, "global_B ..."]]:
    """`gathered` of several sets of one shape, in one exchange."""
    return list(gathered(torch.stack(list(embeddings), dim=1)).unbind(1)) if _has_ranks() else list(embeddings)


def averaged(means: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Means over the clips of all ranks, with their gradients, from each rank's means over equally many."""
    return _summed(means) / torch.distributed.get_world_size() if _has_ranks() else means


class _SumOverRanks(torch.autograd.Function):
    # torch.distributed.nn's all_gather gives wrong gradients, silently, where they come transposed (gloo, torch 2.13),
    # and is deprecated with the rest of that module.
    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _SumOverRanks.forward(ctx, gradient)


def _has_ranks() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _summed(values: Tensor) -> Tensor:
    return _SumOverRanks.apply(values)  # type: ignore[no-untyped-call]
