"""The global batch, for terms that are statistics of it: several ranks compute what one would, gradients included.

Every rank then holds the whole term, and a gradient that is as many times too large as there are ranks: the average
over ranks that DDP takes makes it right.
"""

from typing import Any

import torch
from torch import Tensor


def gathered(
    embeddings: Tensor,  # (B, ...) of this rank
) -> Tensor:  # (B * ranks, ...) of all ranks, with their gradients
    """All clips' embeddings, for statistics that are no means over clips."""
    if not _has_ranks():
        return embeddings
    parts = [torch.zeros_like(embeddings) for _ in range(torch.distributed.get_world_size())]
    parts[torch.distributed.get_rank()] = embeddings
    return _SumOverRanks.apply(torch.cat(parts))


def averaged(
    means: Tensor,  # (...) over this rank's clips
) -> Tensor:  # (...) over all ranks' clips, with their gradients
    """Means over all clips, from each rank's own over equally many."""
    return _SumOverRanks.apply(means) / torch.distributed.get_world_size() if _has_ranks() else means


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
