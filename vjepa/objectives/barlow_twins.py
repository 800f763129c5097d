"""Barlow Twins: predicted and target embeddings must correlate feature by feature, and no two features with each other.

Zbontar et al. 2021, arXiv 2103.03230. With z, z' (B, E) standardised over the batch and C = z^T z' / B, eq. 1 over E:

    on_diagonal    sum over i of (1 - C_ii)^2, over E           what both must say alike
    off_diagonal   sum over i != j of C_ij^2, over E            what no feature may repeat

Published without the division by E, which keeps the weight beside a prediction loss from depending on the width.
"""

from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from vjepa.objectives.global_batch import gathered
from vjepa.objectives.projector import Projector
from vjepa.objectives.regularizer import check_enough_clips, embeddings_of


class BarlowTwinsTerms(NamedTuple):
    """The two terms, each (); both 0 where the cross-correlation is the identity."""

    on_diagonal: Tensor
    off_diagonal: Tensor


@final
class BarlowTwins(nn.Module):
    """Cross-correlation of the mean predicted token and the mean target token of clips.

    Args:
        projector: between tokens and embeddings; none if None.
        weight: of all of it beside the prediction loss.
        off_diagonal_weight: lambda of the paper. With 64 features 0.003 is better than 0.01 and 0.05 (docs/log.md).
    """

    def __init__(self, projector: Projector | None = None, weight: float = 1.0, off_diagonal_weight: float = 0.0051):
        super().__init__()
        self.projector = projector
        self.weight = weight
        self.off_diagonal_weight = off_diagonal_weight

    def forward(
        self,
        predicted: Tensor,  # (B, Nt, D)
        tokens: Tensor,  # (B, N, D)
        step: int,
    ) -> BarlowTwinsTerms:
        first, second = (gathered(part) for part in embeddings_of(predicted, tokens, "clips", self.projector))
        if self.training:
            check_enough_clips(first)
        correlation = cross_correlation(first, second)
        on_diagonal, width = correlation.diagonal(), len(correlation)
        return BarlowTwinsTerms(
            on_diagonal=(1 - on_diagonal).square().sum() / width,
            off_diagonal=(correlation.square().sum() - on_diagonal.square().sum()) / width,
        )

    def loss(self, terms: BarlowTwinsTerms) -> Tensor:
        return self.weight * (terms.on_diagonal + self.off_diagonal_weight * terms.off_diagonal)


def cross_correlation(
    first: Tensor,  # (B, E)
    second: Tensor,  # (B, E)
) -> Tensor:  # (E, E)
    """Of each feature of the first with each of the second, over clips."""
    with torch.autocast(first.device.type, enabled=False):
        return _standardized(first).T @ _standardized(second) / len(first)


def _standardized(embeddings: Tensor) -> Tensor:
    centred = embeddings - embeddings.mean(dim=0)
    # Without the small number, of batch norm, a feature that is the same for all clips would divide by zero.
    return centred / (centred.square().mean(dim=0) + 1e-5).sqrt()
