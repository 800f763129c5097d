"""Barlow Twins: two embeddings of a clip must correlate feature by feature, and no two features with each other.

Zbontar et al. 2021, arXiv 2103.03230. With z, z' (B, E) standardised over the batch and C = z^T z' / B, eq. 1 over E:

    on_diagonal    sum over i of (1 - C_ii)^2, over E           what both must say alike
    off_diagonal   sum over i != j of C_ij^2, over E            what no feature may repeat

Published without the division by E, which keeps the weight beside a prediction loss from depending on the width.
"""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from vjepa.objectives.global_batch import gathered_sets
from vjepa.objectives.projector import Projector
from vjepa.objectives.regularizer import Regularizer, check_enough_clips, compared_pairs
from vjepa.objectives.term import TermValue


@final
class BarlowTwins(Regularizer):
    """Cross-correlation of two embeddings of clips, such as the mean predicted and the mean target token.

    Args:
        projector: as for `Regularizer`.
        weight: of the sum of both parts, beside the prediction loss.
        off_diagonal_weight: lambda of the paper. With 64 features 0.003 is better than 0.01 and 0.05 (docs/log.md).
    """

    def __init__(self, projector: Projector | None = None, weight: float = 1.0, off_diagonal_weight: float = 0.0051):
        super().__init__(projector)
        self.weight = weight
        self.off_diagonal_weight = off_diagonal_weight

    def compare(
        self, embeddings: Sequence[Float32[Tensor, "B *places E"]], step: int, anchored: bool = False
    ) -> TermValue:
        found = gathered_sets(embeddings)
        if self.training:
            check_enough_clips(found[0])
        correlation = cross_correlations(found, compared_pairs(len(found), anchored))  # (pairs, E, E)
        diagonal, width = correlation.diagonal(dim1=1, dim2=2), correlation.shape[-1]
        on_diagonal = (1 - diagonal).square().sum(-1).mean() / width
        off_diagonal = (correlation.square().sum((1, 2)) - diagonal.square().sum(-1)).mean() / width
        return TermValue(
            self.weight * (on_diagonal + self.off_diagonal_weight * off_diagonal),
            {"on_diagonal": on_diagonal, "off_diagonal": off_diagonal},
        )


def cross_correlation(first: Float[Tensor, "B E"], second: Float[Tensor, "B E"]) -> Float[Tensor, "E E"]:
    """Of each feature of the first with each of the second, over clips."""
    return cross_correlations([first, second], [(0, 1)])[0]


def cross_correlations(
    embeddings: Sequence[Float[Tensor, "B E"]], pairs: Sequence[tuple[int, int]]
) -> Float[Tensor, "pairs E E"]:
    """Of these pairs of sets. Each set is standardised once, whatever the number of pairs."""
    with torch.autocast(embeddings[0].device.type, enabled=False):
        sets = [_standardized(each) for each in embeddings]
        return torch.stack([sets[i].T @ sets[j] / len(sets[i]) for i, j in pairs])


def _standardized(embeddings: Tensor) -> Tensor:
    centred = embeddings - embeddings.mean(dim=0)
    # Without the small number, of batch norm, a feature that is the same for all clips would divide by zero.
    return centred / (centred.square().mean(dim=0) + 1e-5).sqrt()
