"""What makes latents of a trajectory fit to plan in: neighbours are near, and paths run straight."""

import torch.nn.functional as F
from torch import Tensor


def time_similarity(
    latents: Tensor,  # (B, T, N, D)
) -> Tensor:  # ()
    """Mean squared difference of neighbouring frames (PLDM, arXiv 2502.14819)."""
    return (latents[:, 1:] - latents[:, :-1]).square().mean()


def straightening(
    latents: Tensor,  # (B, T, N, D), T at least 3
) -> Tensor:  # (), 0 on straight paths, 1 on paths at random, 2 there and back
    """1 - the cosine between one change and the next, which no gradient reaches (arXiv 2603.12231)."""
    changes = (latents[:, 1:] - latents[:, :-1]).flatten(2)
    return (1 - F.cosine_similarity(changes[:, :-1], changes[:, 1:].detach(), dim=-1, eps=1e-6)).mean()
