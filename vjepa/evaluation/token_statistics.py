"""Numbers that tell whether embeddings collapse: effective rank, spread, variance and cosine between clips."""

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def effective_rank(
    tokens: Tensor,  # (..., D)
    max_tokens: int = 4096,
) -> float:
    """RankMe (Garrido et al. 2023, arXiv 2210.02885, eq. 1): exp of the entropy of the normalised singular values.

    Between 1 (all tokens on one line) and D; tokens are not centred, as in the paper. Says nothing about scale. At most
    `max_tokens` evenly chosen tokens are used: give it several times D for a value that no longer grows with them.
    NaN where a token is not finite.
    """
    matrix = tokens.detach().flatten(0, -2)
    step = -(-len(matrix) // max_tokens)
    matrix = matrix[::step].double()
    if not matrix.isfinite().all():
        return float("nan")
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


@torch.no_grad()
def cosine_between_clips(
    tokens: Tensor,  # (B, N, D)
) -> float:
    """Mean cosine between tokens at the same place of different clips, over all pairs of clips and all places.

    1 where clips can't be told apart. Of layer-normed tokens it is 1 minus `variance_between_clips`, so it says
    something of its own about tokens as the encoder gives them. NaN for a single clip.
    """
    num_clips = len(tokens)
    if num_clips < 2:
        return float("nan")
    directions = F.normalize(tokens.detach().float(), dim=-1)
    # Of all pairs at once: the square of the sum, less each token with itself.
    pairs = directions.sum(dim=0).square().sum(dim=-1) - directions.square().sum(dim=(0, -1))  # (N,)
    return float(pairs.mean()) / (num_clips * (num_clips - 1))
