"""Clip agreement: what is seen of a clip and what is hidden of it must be embedded alike, and no two clips alike.

Variance-invariance-covariance regularisation (VICReg, Bardes et al. 2022, arXiv 2105.04906) between the pooled tokens
of the two parts that a mask makes of a clip. Nothing but what both parts share can agree: texture here and there
averages out, how the clip moves stays. It needs no moving average; variance and covariance keep embeddings apart.
"""

from typing import NamedTuple, final

import torch.nn.functional as F
from torch import Tensor, nn

from vjepa.objectives.global_batch import gathered
from vjepa.objectives.projector import Projector
from vjepa.objectives.variance_covariance import missing_variance, off_diagonal


class Agreement(NamedTuple):
    """The three terms, each ()."""

    invariance: Tensor  # mean squared difference between the two parts' embeddings
    variance: Tensor  # how far the spread of each feature over clips is below 1
    covariance: Tensor  # squared covariances between features, summed over pairs, per feature


@final
class ClipAgreement(nn.Module):
    """A projector on pooled tokens, and the weights of the three terms.

    Args:
        encoder_dim: width of the tokens.
        hidden_dim: width of the projector's middle layer.
        output_dim: width of the embeddings that must agree.
        weight: of all of it beside the prediction loss.
        covariance_weight: of the covariance beside the other two terms, whose weights are 1.
    """

    def __init__(
        self,
        encoder_dim: int,
        hidden_dim: int = 256,
        output_dim: int = 64,
        weight: float = 1.0,
        covariance_weight: float = 0.1,
    ):
        super().__init__()
        self.encoder_dim = encoder_dim
        self.weight = weight
        self.covariance_weight = covariance_weight
        self.projector = Projector(encoder_dim, hidden_dim, output_dim)

    def forward(
        self,
        seen: Tensor,  # (B, Nc, D) tokens of the visible part
        hidden: Tensor,  # (B, Nt, D) tokens of the other part, encoded by themselves
    ) -> Agreement:
        first, second = (gathered(self.projector(tokens.mean(1)).float()) for tokens in (seen, hidden))
        return Agreement(
            invariance=F.mse_loss(first, second),
            variance=(missing_variance(first) + missing_variance(second)) / 2,
            covariance=(off_diagonal(first) + off_diagonal(second)) / 2,
        )

    def loss(self, terms: Agreement) -> Tensor:
        return self.weight * (terms.invariance + terms.variance + self.covariance_weight * terms.covariance)
