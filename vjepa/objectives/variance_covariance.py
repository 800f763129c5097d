"""Variance, invariance, covariance: embeddings must spread over clips, each feature in its own way (VICReg).

Bardes et al. 2022, arXiv 2105.04906. With z (B, E) the embeddings of a batch, C their covariance:

    invariance   mean over clips and features of (z - z')^2                        (eq. 5, here per feature)
    variance     mean over features of max(0, 1 - sqrt(Var(z_j) + 0.0001))         (eq. 1 and 2)
    covariance   sum over i != j of C_ij^2, over E                                 (eq. 3 and 4)
"""

from collections.abc import Sequence
from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa.objectives.global_batch import gathered
from vjepa.objectives.projector import Projector
from vjepa.objectives.regularizer import Over, check_enough_clips, embeddings_of


class VarianceCovarianceTerms(NamedTuple):
    """The three terms, each ()."""

    invariance: Tensor  # mean squared difference of two sets of embeddings; 0 over places: there the prediction is it
    variance: Tensor  # how far the spread of each feature over clips is below 1
    covariance: Tensor  # squared covariances between features, summed over pairs, per feature


@final
class VarianceCovariance(nn.Module):
    """VICReg beside the prediction.

    Args:
        over: "clips": statistics of the mean tokens of clips, predicted and target; "places": of the target tokens at
            each place of the clip, averaged over places.
        projector: between tokens and embeddings; none if None.
        weight: of all of it beside the prediction loss.
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
        super().__init__()
        self.over = over
        self.projector = projector
        self.weight = weight
        self.invariance_weight = invariance_weight
        self.covariance_weight = covariance_weight

    def forward(
        self,
        predicted: Tensor,  # (B, Nt, D)
        tokens: Tensor,  # (B, N, D)
        step: int,
    ) -> VarianceCovarianceTerms:
        found = [gathered(part) for part in embeddings_of(predicted, tokens, self.over, self.projector)]
        if self.training:
            check_enough_clips(found[0])
        return variance_covariance_terms(found)

    def loss(self, terms: VarianceCovarianceTerms) -> Tensor:
        return self.weight * (
            self.invariance_weight * terms.invariance + terms.variance + self.covariance_weight * terms.covariance
        )


def variance_covariance_terms(
    parts: Sequence[Tensor],  # two of (B, E), or one of (B, ..., E), of the global batch
) -> VarianceCovarianceTerms:
    """The three terms, means over the parts; one part alone has no invariance."""
    return VarianceCovarianceTerms(
        invariance=F.mse_loss(parts[0], parts[-1]),
        variance=torch.stack([missing_variance(part.transpose(0, -2)) for part in parts]).mean(),
        covariance=torch.stack([off_diagonal(part.transpose(0, -2)) for part in parts]).mean(),
    )


def missing_variance(
    embeddings: Tensor,  # (..., B, E)
) -> Tensor:  # ()
    """The variance term: mean over features of max(0, 1 - standard deviation over clips)."""
    deviation = (embeddings.var(dim=-2) + 1e-4).sqrt()
    return F.relu(1 - deviation).mean()


def off_diagonal(
    embeddings: Tensor,  # (..., B, E)
) -> Tensor:  # ()
    """The covariance term: squared covariances of different features, summed, over E."""
    num_clips, width = embeddings.shape[-2:]
    with torch.autocast(embeddings.device.type, enabled=False):
        centred = embeddings - embeddings.mean(dim=-2, keepdim=True)
        covariance = centred.mT @ centred / (num_clips - 1)
        squares, on_diagonal = covariance.square(), covariance.diagonal(dim1=-2, dim2=-1).square()
        return ((squares.sum(dim=(-2, -1)) - on_diagonal.sum(dim=-1)) / width).mean()
