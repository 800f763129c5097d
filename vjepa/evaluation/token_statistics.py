"""Numbers that tell whether embeddings collapse: effective rank, spread, and variance between clips."""

import torch
from torch import Tensor


@torch.no_grad()
def effective_rank(
    tokens: Tensor,  # (..., D)
    max_tokens: int = 4096,
) -> float:
    """RankMe (Garrido et al. 2023, arXiv 2210.02885, eq. 1): exp of the entropy of the normalised singular values.

    Between 1 (all tokens on one line) and D; tokens are not centred, as in the paper. Says nothing about scale. At most
    `max_tokens` evenly chosen tokens are used: give it several times D for a value that no longer grows with them.
    """
    matrix = tokens.detach().flatten(0, -2)
    step = -(-len(matrix) // max_tokens)
    matrix = matrix[::step].double()
    eigenvalues = torch.linalg.eigvalsh(matrix.T @ matrix)
    singular = eigenvalues.clamp_min(0).sqrt()
    share = singular / singular.sum().clamp_min(torch.finfo(singular.dtype).tiny)
    return float(torch.exp(-torch.special.xlogy(share, share).sum()))


@torch.no_grad()
def feature_std(
    tokens: Tensor,  # (..., D)
) -> float:
    """Standard deviation over all tokens, averaged over features; goes to 0 in a collapse of scale."""
    return float(tokens.detach().flatten(0, -2).float().std(dim=0).mean())


@torch.no_grad()
def variance_between_clips(
    tokens: Tensor,  # (B, N, D)
) -> float:
    """Variance over the clips of a batch at the same token, averaged over tokens and features.

    Near 0 where embeddings say only where they are and not what they see. NaN for a single clip.
    """
    return float(tokens.detach().float().var(dim=0).mean())
