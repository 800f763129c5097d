"""Statistics of collapse: effective rank, standard deviation, variance and cosine between clips."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


@torch.no_grad()
def effective_rank(tokens: Float[Tensor, "... D"], max_tokens: int = 4096, centred: bool = False) -> float:
    """RankMe (Garrido et al. 2023, arXiv 2210.02885, eq. 1): exp of the entropy of the normalised singular values.

    Between 1 (all tokens on one line) and D, whatever the scale; tokens are not centred, as in the paper, unless
    `centred`: then a mean that all tokens share does not count. At most `max_tokens` evenly chosen tokens are used; the
    value converges at several times D. NaN where a token is not finite.
    """
    matrix = tokens.detach().flatten(0, -2)
    step = -(-len(matrix) // max_tokens)
    matrix = matrix[::step].double()
    if not matrix.isfinite().all():
        return float("nan")
    if centred:
        matrix = matrix - matrix.mean(dim=0)
    eigenvalues = torch.linalg.eigvalsh(matrix.T @ matrix)
    singular = eigenvalues.clamp_min(0).sqrt()
    weights = singular / singular.sum().clamp_min(torch.finfo(singular.dtype).tiny)
    return float(torch.exp(-torch.special.xlogy(weights, weights).sum()))


@torch.no_grad()
def feature_std(tokens: Float[Tensor, "... D"]) -> float:
    """Standard deviation over all tokens, averaged over features; 0 in a collapse of scale."""
    return float(tokens.detach().flatten(0, -2).float().std(dim=0).mean())


@torch.no_grad()
def variance_between_clips(tokens: Float[Tensor, "B N D"]) -> float:
    """Variance over the clips of a batch at the same token, averaged over tokens and features.

    Near 0 where embeddings depend on the position and not on the clip. NaN for a single clip.
    """
    return float(tokens.detach().float().var(dim=0).mean())


@torch.no_grad()
def cosine_between_clips(tokens: Float[Tensor, "B N D"]) -> float:
    """Mean cosine between tokens at the same position of different clips, over all pairs of clips and all positions.

    1 where all clips are alike. For layer-normed tokens it is 1 minus `variance_between_clips`, so it adds information
    only for tokens that are not normed. NaN for a single clip.
    """
    num_clips = len(tokens)
    if num_clips < 2:
        return float("nan")
    directions = F.normalize(tokens.detach().float(), dim=-1)
    # All pairs at once: the square of the sum, less each token with itself.
    pairs = directions.sum(dim=0).square().sum(dim=-1) - directions.square().sum(dim=(0, -1))  # (N,)
    return float(pairs.mean()) / (num_clips * (num_clips - 1))
