"""The latent predictor: from context tokens and places of hidden tubelets to their embeddings (arXiv 2404.08471)."""

from typing import final

import torch
from torch import Tensor, nn

from vjepa.grid import TokenGrid, gather_tokens
from vjepa.masking import TubeMask
from vjepa.models.encoder import run_block
from vjepa.models.layers import Block, MlpKind, initialize_transformer
from vjepa.models.position import Position, PositionKind


@final
class Predictor(nn.Module):
    """A narrow transformer over context tokens and one mask token per hidden tubelet.

    Args:
        encoder_dim: width of the encoder's tokens, in and out.
        embed_dim: width inside; 384 in every released model.
        num_mask_tokens: how many learned mask tokens there are (V-JEPA 1 had one per kind of mask, V-JEPA 2 uses one).
        zero_init_mask_tokens: start mask tokens at zero, as released; otherwise normal with std 0.02.
        position, position_grid, mlp, activation_checkpointing: as for `VideoEncoder`.
    """

    def __init__(
        self,
        encoder_dim: int = 192,
        embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        position: PositionKind = "rotary",
        position_grid: tuple[int, int, int] | None = None,
        mlp: MlpKind = "gelu",
        num_mask_tokens: int = 1,
        zero_init_mask_tokens: bool = True,
        norm_eps: float = 1e-6,
        activation_checkpointing: bool = False,
    ):
        super().__init__()
        self.activation_checkpointing = activation_checkpointing
        self.embed = nn.Linear(encoder_dim, embed_dim)
        self.mask_tokens = nn.ParameterList(nn.Parameter(torch.zeros(1, 1, embed_dim)) for _ in range(num_mask_tokens))
        self.position = Position(position, embed_dim, num_heads, position_grid)
        blocks = [Block(embed_dim, num_heads, mlp_ratio, mlp, norm_eps) for _ in range(depth)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.proj = nn.Linear(embed_dim, encoder_dim)
        initialize_transformer(self, blocks)
        if not zero_init_mask_tokens:
            for token in self.mask_tokens:
                nn.init.trunc_normal_(token, std=0.02)

    def forward(
        self,
        context: Tensor,  # (B, Nc, encoder_dim) tokens of mask.context_ids
        mask: TubeMask,
        grid: TokenGrid,
        mask_token: int = 0,
    ) -> Tensor:  # (B, Nt, encoder_dim) predictions for mask.target_ids
        """Raises ValueError where there is no such mask token."""
        if mask_token >= len(self.mask_tokens):
            raise ValueError(
                f"mask token {mask_token} was asked for, but num_mask_tokens is {len(self.mask_tokens)}; "
                f"with one token per mask there must be as many tokens as masks"
            )
        num_context, num_targets = mask.context_ids.shape[1], mask.target_ids.shape[1]
        token_ids = torch.cat((mask.context_ids, mask.target_ids), dim=1)
        # Attention doesn't care for the order of tokens, but rounding does, and AdamW magnifies it: in the order of the
        # clip whole training steps agree with the reference to 4e-6, with targets behind the context to 1.3e-5.
        order = token_ids.argsort(dim=1)
        token_ids = token_ids.gather(1, order)
        context = self.embed(context)
        hidden = self.mask_tokens[mask_token].expand(context.shape[0], num_targets, -1)
        tokens = gather_tokens(torch.cat((context, hidden.to(context.dtype)), dim=1), order)
        tokens = self.position.added(tokens, grid, token_ids)
        rotary = self.position.rotary(grid, context.device, token_ids)
        for block in self.blocks:
            tokens = run_block(block, tokens, rotary, self.activation_checkpointing)
        places_of_targets = order.argsort(dim=1)[:, num_context:]
        return self.proj(self.norm(gather_tokens(tokens, places_of_targets)))
