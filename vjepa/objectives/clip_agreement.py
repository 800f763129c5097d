"""Clip agreement: what is seen of a clip and what is hidden of it must be embedded alike, and no two clips alike.

Variance-invariance-covariance regularisation (VICReg, Bardes et al. 2022, arXiv 2105.04906) between the pooled tokens
of the two parts that a mask makes of a clip. Nothing but what both parts share can agree: texture here and there
averages out, how the clip moves stays. It needs no moving average; variance and covariance keep embeddings apart.
"""

from typing import final

from torch import Tensor, nn

from vjepa.objectives.global_batch import gathered
from vjepa.objectives.projector import Projector
from vjepa.objectives.variance_covariance import VarianceCovarianceTerms, variance_covariance_terms


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
        step: int = 0,  # of the run: nothing here depends on it
    ) -> VarianceCovarianceTerms:
        parts = [gathered(self.projector(tokens.mean(1)).float()) for tokens in (seen, hidden)]
        return variance_covariance_terms(parts)

    def loss(self, terms: VarianceCovarianceTerms) -> Tensor:
        return self.weight * (terms.invariance + terms.variance + self.covariance_weight * terms.covariance)
