"""Barlow Twins: predicted and target embeddings must correlate feature by feature, and no two features with each other.

Zbontar et al. 2021, arXiv 2103.03230. With z, z' (B, E) standardised over the batch and C = z^T z' / B, eq. 1 over E:

    on_diagonal    sum over i of (1 - C_ii)^2, over E           what both must say alike
    off_diagonal   sum over i != j of C_ij^2, over E            what no feature may repeat

Published without the division by E, which keeps the weight beside a prediction loss from depending on the width.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.objectives.global_batch import gathered
from vjepa.objectives.projector import Projector
from vjepa.objectives.regularizer import Regularizer, check_enough_clips
from vjepa.objectives.term import TermValue


@final
class BarlowTwins(Regularizer):
    """Cross-correlation of the mean predicted token and the mean target token of clips.

    Args:
        projector: as for `Regularizer`.
        weight: of the sum of both parts, beside the prediction loss.
        off_diagonal_weight: lambda of the paper. With 64 features 0.003 is better than 0.01 and 0.05 (docs/log.md).
    """

    def __init__(self, projector: Projector | None = None, weight: float = 1.0, off_diagonal_weight: float = 0.0051):
        super().__init__(projector)
        self.weight = weight
        self.off_diagonal_weight = off_diagonal_weight

    def forward(self, predicted: Float[Tensor, "B Nt D"], tokens: Float[Tensor, "B N D"], step: int) -> TermValue:
        first, second = (gathered(part) for part in self.embeddings(predicted, tokens))
        if self.training:
            check_enough_clips(first)
        correlation = cross_correlation(first, second)
        diagonal, width = correlation.diagonal(), len(correlation)
        on_diagonal = (1 - diagonal).square().sum() / width
        off_diagonal = (correlation.square().sum() - diagonal.square().sum()) / width
        return TermValue(
            self.weight * (on_diagonal + self.off_diagonal_weight * off_diagonal),
            {"on_diagonal": on_diagonal, "off_diagonal": off_diagonal},
        )


def cross_correlation(first: Float[Tensor, "B E"], second: Float[Tensor, "B E"]) -> Float[Tensor, "E E"]:
    """Of each feature of the first with each of the second, over clips."""
    with torch.autocast(first.device.type, enabled=False):
        return _standardized(first).T @ _standardized(second) / len(first)


def _standardized(embeddings: Tensor) -> Tensor:
    centred = embeddings - embeddings.mean(dim=0)
    # Without the small number, of batch norm, a feature that is the same for all clips would divide by zero.
    return centred / (centred.square().mean(dim=0) + 1e-5).sqrt()
