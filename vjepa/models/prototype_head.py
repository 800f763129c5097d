"""The head of self-distillation: cosine similarity of embeddings to learned prototypes (DINO, arXiv 2104.14294)."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class PrototypeHead(nn.Module):
    """Three layers to a bottleneck, and its cosine with each prototype.

    Args:
        input_dim: width of the embeddings: the encoder's `embed_dim`.
        hidden_dim, bottleneck_dim: of the layers.
        num_prototypes: published: 65,536.
    """

    def __init__(self, input_dim: int, hidden_dim: int = 2048, bottleneck_dim: int = 256, num_prototypes: int = 65_536):
        super().__init__()
        self.input_dim = input_dim
        self.num_prototypes = num_prototypes
        self.layers = nn.Sequential(
            nn.Linear(input_dim, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, bottleneck_dim),
        )
        self.prototypes = nn.Linear(bottleneck_dim, num_prototypes, bias=False)
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(
        self, embeddings: Float[Tensor, "... input_dim"]
    ) -> Float[Tensor, "... num_prototypes"]:  # from -1 to 1
        short = F.normalize(self.layers(embeddings), dim=-1)
        return F.linear(short, F.normalize(self.prototypes.weight, dim=-1))
