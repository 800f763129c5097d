"""The video encoder: a ViT over tubelets (V-JEPA, arXiv 2404.08471; V-JEPA 2, arXiv 2506.09985)."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vjepa.grid import TokenGrid
from vjepa.models.layers import Block, MlpKind, TubeletEmbedding, initialize_transformer
from vjepa.models.position import Position, PositionKind
from vjepa.models.sizes import SIZES, EncoderSize


@final
class VideoEncoder(nn.Module):
    """Clips to tokens, of all tubelets or only of those that a mask leaves visible; any clip size.

    Args:
        size: a row of `vjepa.models.sizes`, which gives embed_dim, depth, num_heads and mlp_ratio where they are None.
        tubelet: frames, height and width in pixels of the block of video that becomes one token.
        position: how tokens know their place; released V-JEPA 2 weights are "rotary_tiled".
        position_grid: the token grid (frames, height, width) that positions are stretched to on other clip sizes.
        mlp: "gelu" in every released model.
        activation_checkpointing: compute blocks again in the backward pass; saves memory, changes no result.
    """

    def __init__(
        self,
        size: EncoderSize = "tiny",
        embed_dim: int | None = None,
        depth: int | None = None,
        num_heads: int | None = None,
        mlp_ratio: float | None = None,
        tubelet: tuple[int, int, int] = (2, 16, 16),
        position: PositionKind = "rotary",
        position_grid: tuple[int, int, int] | None = None,
        mlp: MlpKind = "gelu",
        norm_eps: float = 1e-6,
        activation_checkpointing: bool = False,
    ):
        super().__init__()
        row = SIZES[size]
        self.embed_dim = embed_dim or row.embed_dim
        self.tubelet = tubelet
        self.activation_checkpointing = activation_checkpointing
        num_heads, mlp_ratio = num_heads or row.num_heads, mlp_ratio or row.mlp_ratio
        self.patch_embed = TubeletEmbedding(self.tubelet, self.embed_dim)
        self.position = Position(position, self.embed_dim, num_heads, position_grid)
        blocks = [Block(self.embed_dim, num_heads, mlp_ratio, mlp, norm_eps) for _ in range(depth or row.depth)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(self.embed_dim, eps=norm_eps)
        initialize_transformer(self, blocks)

    def forward(
        self,
        clips: Tensor,  # (B, 3, T, H, W) float, normalised
        token_ids: Tensor | None = None,  # (B, K) int64: embed and encode only these; all if None
    ) -> Tensor:  # (B, K or N, D)
        """Tokens of the last level. Raises ValueError where the clip is no whole number of tubelets."""
        return self.forward_levels(clips, [len(self.blocks) - 1], token_ids)[0]

    def forward_levels(
        self,
        clips: Tensor,  # (B, 3, T, H, W)
        levels: Sequence[int],  # numbers of blocks, from 0
        token_ids: Tensor | None = None,  # (B, K)
    ) -> list[Tensor]:  # one (B, K or N, D) per level, in the order of the blocks
        """Tokens after each of these blocks, all through the one final norm (as V-JEPA 2's `out_layers`)."""
        unknown = [level for level in levels if not 0 <= level < len(self.blocks)]
        if unknown:
            raise ValueError(f"levels {unknown} do not exist; this encoder has levels 0 to {len(self.blocks) - 1}")
        grid = self.grid_of(clips)
        tokens = self.position.added(self.patch_embed(clips, token_ids), grid, token_ids)
        rotary = self.position.rotary(grid, clips.device, token_ids)
        outputs = []
        for level, block in enumerate(self.blocks[: max(levels) + 1]):
            tokens = run_block(block, tokens, rotary, self.activation_checkpointing)
            if level in levels:
                outputs.append(self.norm(tokens))
        return outputs

    def grid_of(self, clips: Tensor) -> TokenGrid:
        """How many tokens clips of this size have over time, height and width."""
        return self.patch_embed.grid_of(clips)


def run_block(block: nn.Module, tokens: Tensor, rotary: object, activation_checkpointing: bool) -> Tensor:
    """Run one block, keeping its activations or (with checkpointing, while gradients are on) only its input."""
    if activation_checkpointing and torch.is_grad_enabled():
        return checkpoint(block, tokens, rotary, use_reentrant=False)
    return block(tokens, rotary)
