"""The projector between an encoder's tokens and the embeddings of a regularizer (VICReg, arXiv 2105.04906)."""

from typing import final

from jaxtyping import Float
from torch import Tensor, nn


@final
class Projector(nn.Sequential):
    """Two layers. Its input keeps features that the regularized output may lose.

    Args:
        input_dim: width of the tokens: the encoder's `embed_dim`, times the predicted levels.
        hidden_dim: width of the hidden layer.
        output_dim: width of the embeddings.
    """

    def __init__(self, input_dim: int, hidden_dim: int = 256, output_dim: int = 64):
        super().__init__(
            nn.Linear(input_dim, hidden_dim),
            # Layer norm, not batch norm: with statistics of each rank's own clips two ranks would differ from one.
            nn.LayerNorm(hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, output_dim, bias=False),  # a bias would change no term
        )
        self.input_dim = input_dim

    def forward(self, tokens: Float[Tensor, "*batch input_dim"]) -> Float[Tensor, "*batch output_dim"]:
        if tokens.shape[-1] != self.input_dim:
            raise ValueError(
                f"the projector's input_dim ({self.input_dim}) must be the width of the tokens, {tokens.shape[-1]}"
            )
        return super().forward(tokens)  # type: ignore[no-untyped-call]
