"""The attentive probe: a learned query reads frozen tokens (V-JEPA, arXiv 2404.08471; V-JEPA 2, arXiv 2506.09985).

Self-attention blocks without positions, then one cross-attention block of learned queries, then a linear layer. With a
single block there is no self-attention, the probe of V-JEPA 1; V-JEPA 2 has four blocks.
"""

import math
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vjepa.models.layers import Block, Checkpointing, GeluMlp, attention, initialize_transformer
from vjepa.models.position import channels_per_head


@final
class AttentiveProbe(nn.Module):
    """Class scores from tokens.

    Args:
        embed_dim: width of the tokens.
        num_classes: of each task; each task has its own query (EPIC-Kitchens has verb, noun and action).
        depth: blocks, the cross-attention block included.
        num_heads: 16 in every released probe.
        activation_checkpointing: recompute self-attention in the backward pass; saves memory, changes no result.
    """

    def __init__(
        self,
        embed_dim: int,
        num_classes: list[int],
        depth: int = 1,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        norm_eps: float = 1e-5,
        activation_checkpointing: Checkpointing = False,
    ):
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth ({depth}) of an attentive probe must be at least 1, the cross-attention block")
        blocks = [
            Block(embed_dim, num_heads, mlp_ratio, norm_eps=norm_eps, activation_checkpointing=activation_checkpointing)
            for _ in range(depth - 1)
        ]
        self.blocks = nn.ModuleList(blocks)
        self.queries = nn.Parameter(torch.zeros(1, len(num_classes), embed_dim))
        self.cross_attention_block = CrossAttentionBlock(embed_dim, num_heads, mlp_ratio, norm_eps)
        self.classifiers = nn.ModuleList(nn.Linear(embed_dim, count) for count in num_classes)
        initialize_transformer(self, blocks)
        with torch.no_grad():
            # The released code's number of the cross block is that of the last self-attention block, or 1.
            self.cross_attention_block.mlp.fc2.weight.div_(math.sqrt(2 * max(1, depth - 1)))
            nn.init.trunc_normal_(self.queries, std=0.02)

    def forward(self, tokens: Float[Tensor, "B N D"]) -> list[Tensor]:  # one (B, num_classes) per task
        for block in self.blocks:
            tokens = block(tokens)
        pooled = self.cross_attention_block(self.queries, tokens)  # (B, tasks, D)
        return [classify(pooled[:, task]) for task, classify in enumerate(self.classifiers)]


class CrossAttentionBlock(nn.Module):
    """Learned queries attend to normalised tokens, then an MLP; the queries are the same for all clips."""

    def __init__(self, embed_dim: int, num_heads: int, mlp_ratio: float, norm_eps: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.xattn = CrossAttention(embed_dim, num_heads)
        self.norm2 = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.mlp = GeluMlp(embed_dim, mlp_ratio)

    def forward(self, queries: Float[Tensor, "1 Q D"], tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B Q D"]:
        # Without its weights the norm of frozen tokens is the same for all probes of a sweep.
        normalized = F.layer_norm(tokens, tokens.shape[-1:], eps=self.norm1.eps)
        pooled = queries + self.xattn.with_fixed_queries(queries, normalized, self.norm1)
        return pooled + self.mlp(self.norm2(pooled))


class CrossAttention(nn.Module):
    """Multi-head attention of queries to tokens; there is no output projection."""

    def __init__(self, embed_dim: int, num_heads: int):
        super().__init__()
        self.head_dim = channels_per_head(embed_dim, num_heads)
        self.q = nn.Linear(embed_dim, embed_dim)
        self.kv = nn.Linear(embed_dim, 2 * embed_dim)

    def forward(
        self,
        queries: Float[Tensor, "1 Q D"],
        tokens: Float[Tensor, "B N D"],  # normalised
    ) -> Float[Tensor, "B Q D"]:
        """As in the formula: a key and a value for each token."""
        query = self.q(queries).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        key, value = self.kv(tokens).unflatten(-1, (2, -1, self.head_dim)).permute(2, 0, 3, 1, 4)
        return attention(query.expand(len(tokens), -1, -1, -1), key, value).transpose(1, 2).flatten(2)

    def with_fixed_queries(
        self,
        queries: Float[Tensor, "1 Q D"],
        normalized: Float[Tensor, "B N D"],  # normalised without weights
        norm: nn.LayerNorm,
    ) -> Float[Tensor, "B Q D"]:
        """The same without keys and values of tokens, for few queries: their maps are moved to the tokens' space.

        query . (K x) = (K' query) . x, and attention weights add up to 1, so that sum w (V x) = V (sum w x). Scores and
        sums cost 2 D products for each token and head; keys and values cost 2 D D for each token. A key's bias adds the
        same to all scores of a query and cancels in the softmax.
        """
        num_heads = queries.shape[-1] // self.head_dim
        query = self.q(queries[0]).unflatten(-1, (num_heads, self.head_dim))  # (Q, heads, d)
        key_map, value_map = self.kv.weight.unflatten(0, (2, num_heads, self.head_dim))  # (heads, d, D) each
        in_token_space = torch.einsum("qhd,hdc->qhc", query * self.head_dim**-0.5, key_map) * norm.weight
        scores = normalized @ in_token_space.flatten(0, 1).T  # (B, N, Q * heads)
        summed = scores.softmax(dim=1).transpose(1, 2) @ normalized  # (B, Q * heads, D)
        summed = (summed * norm.weight + norm.bias).unflatten(1, (-1, num_heads))  # (B, Q, heads, D)
        pooled = torch.einsum("bqhc,hdc->bqhd", summed, value_map).flatten(2)
        return pooled + self.kv.bias[queries.shape[-1] :]
