"""The projector between an encoder's tokens and the embeddings of a regularizer (VICReg, arXiv 2105.04906)."""

from typing import Literal, final, get_args

from jaxtyping import Float
from torch import Tensor, nn

Norm = Literal["layer", "batch"]


@final
class Projector(nn.Sequential):
    """Two layers. Its input keeps features that the regularized output may lose.

    Args:
        input_dim: width of the tokens: the encoder's `embed_dim`, times the predicted levels.
        hidden_dim: width of the hidden layer.
        output_dim: width of the embeddings.
        norm: of the hidden layer: "layer", or "batch" as published (VICReg, LeVJEPA). Batch norm takes statistics of
            each rank's own clips, so that two ranks differ from one, unless --trainer.sync_batchnorm=true.
    """

    def __init__(self, input_dim: int, hidden_dim: int = 256, output_dim: int = 64, norm: Norm = "layer"):
        if norm not in get_args(Norm):
            raise ValueError(f"norm '{norm}' must be one of {', '.join(get_args(Norm))}")
        super().__init__(
            nn.Linear(input_dim, hidden_dim),
            nn.LayerNorm(hidden_dim) if norm == "layer" else nn.BatchNorm1d(hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, output_dim, bias=False),  # a bias would change no term
        )
        self.input_dim = input_dim

    def forward(self, tokens: Float[Tensor, "*batch input_dim"]) -> Float[Tensor, "*batch output_dim"]:
        if tokens.shape[-1] != self.input_dim:
            raise ValueError(
                f"the projector's input_dim ({self.input_dim}) must be the width of the tokens, {tokens.shape[-1]}"
            )
        # Batch norm takes statistics over all but the last dimension.
        embeddings: Tensor = super().forward(tokens.flatten(0, -2))  # type: ignore[no-untyped-call]
        return embeddings.unflatten(0, tokens.shape[:-1])
