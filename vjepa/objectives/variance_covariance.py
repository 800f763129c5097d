"""Variance, invariance, covariance: embeddings must spread over clips, each feature in its own way (VICReg).

Bardes et al. 2022, arXiv 2105.04906. With z (B, E) the embeddings of a batch, C their covariance:

    invariance   mean over clips and features of (z - z')^2                        (eq. 5, here per feature)
    variance     mean over features of max(0, 1 - sqrt(Var(z_j) + 0.0001))         (eq. 1 and 2)
    covariance   sum over i != j of C_ij^2, over E                                 (eq. 3 and 4)
"""

from collections.abc import Sequence
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from vjepa.objectives.global_batch import gathered_sets
from vjepa.objectives.projector import Projector
from vjepa.objectives.regularizer import Over, Regularizer, check_enough_clips, squared_difference
from vjepa.objectives.term import TermValue


@final
class VarianceCovariance(Regularizer):
    """VICReg beside the prediction. Over places there is no invariance: the prediction is it.

    Args:
        over, projector: as for `Regularizer`.
        weight: of the sum of the three, beside the prediction loss.
        invariance_weight, covariance_weight: beside the variance, whose weight is 1; published: 1 and 0.04.
    """

    def __init__(
        self,
        over: Over = "clips",
        projector: Projector | None = None,
        weight: float = 1.0,
        invariance_weight: float = 1.0,
        covariance_weight: float = 0.04,
    ):
        super().__init__(projector, over)
        self.weight = weight
        self.invariance_weight = invariance_weight
        self.covariance_weight = covariance_weight

    def compare(
        self, embeddings: Sequence[Float32[Tensor, "B *places E"]], step: int, anchored: bool = False
    ) -> TermValue:
        found = gathered_sets(embeddings)
        if self.training:
            check_enough_clips(found[0])
        parts = variance_covariance(found, anchored)
        loss = self.invariance_weight * parts["invariance"] + parts["variance"]
        return TermValue(self.weight * (loss + self.covariance_weight * parts["covariance"]), parts)


def variance_covariance(
    parts: Sequence[Float[Tensor, "B *places E"]],  # sets of embeddings of the global batch
    anchored: bool = False,
) -> dict[str, Float[Tensor, ""]]:
    """Invariance over pairs of sets, variance and covariance over sets; one set alone has no invariance."""
    return {
        "invariance": squared_difference(parts, anchored),
        "variance": torch.stack([missing_variance(part.transpose(0, -2)) for part in parts]).mean(),
        "covariance": torch.stack([off_diagonal(part.transpose(0, -2)) for part in parts]).mean(),
    }


def missing_variance(embeddings: Float[Tensor, "*places B E"]) -> Float[Tensor, ""]:
    """The variance term: mean over features of max(0, 1 - standard deviation over clips)."""
    deviation = (embeddings.var(dim=-2) + 1e-4).sqrt()
    return F.relu(1 - deviation).mean()


def off_diagonal(embeddings: Float[Tensor, "*places B E"]) -> Float[Tensor, ""]:
    """The covariance term: squared covariances of different features, summed, over E."""
    num_clips, width = embeddings.shape[-2:]
    with torch.autocast(embeddings.device.type, enabled=False):
        centred = embeddings - embeddings.mean(dim=-2, keepdim=True)
        covariance = centred.mT @ centred / (num_clips - 1)
        squares, on_diagonal = covariance.square(), covariance.diagonal(dim1=-2, dim2=-1).square()
        return ((squares.sum(dim=(-2, -1)) - on_diagonal.sum(dim=-1)) / width).mean()
