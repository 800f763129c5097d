"""The action-conditioned predictor of V-JEPA 2-AC: tokens of frames and what is done to tokens of the next frames.

Block-causal transformer (arXiv 2506.09985, section 3): each frame is a block of action, state and patch tokens, which
attend to all tokens of this frame and those before it. The output at frame t predicts the tokens of frame t + 1.
"""

from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vjepa.grid import TokenGrid
from vjepa.models.layers import Block, Checkpointing, initialize_transformer
from vjepa.models.position import PositionKind, RotaryTable, channels_per_head, rotary_table


@final
class ActionPredictor(nn.Module):
    """Tokens of frames so far, with their actions and states, to tokens of the frame after each.

    Args:
        encoder_dim: width of the encoder's tokens, in and out.
        embed_dim, depth, num_heads: 1024, 24 and 16 in the released model.
        action_dim, state_dim: numbers per frame; 7 for an arm: change of place, rotation and gripper; pose and gripper.
        extrinsics_dim: numbers of a camera's place.
        use_extrinsics: give each frame a token of the camera's place.
        position: "rotary_tiled" in the released model.
        activation_checkpointing: compute blocks again in the backward pass; saves memory, changes no result.
    """

    def __init__(
        self,
        encoder_dim: int = 1408,
        embed_dim: int = 1024,
        depth: int = 24,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        action_dim: int = 7,
        state_dim: int = 7,
        extrinsics_dim: int = 6,
        use_extrinsics: bool = False,
        position: PositionKind = "rotary_tiled",
        norm_eps: float = 1e-6,
        activation_checkpointing: Checkpointing = False,
    ):
        super().__init__()
        if position not in ("rotary", "rotary_tiled"):
            raise ValueError(f"position ({position}) of an action predictor must be 'rotary' or 'rotary_tiled'")
        self.head_dim = channels_per_head(embed_dim, num_heads)
        self.is_tiled = position == "rotary_tiled"
        self.use_extrinsics = use_extrinsics
        self.embed = nn.Linear(encoder_dim, embed_dim)
        self.action_embed = nn.Linear(action_dim, embed_dim)
        self.state_embed = nn.Linear(state_dim, embed_dim)
        # There in each released file, used or not.
        self.extrinsics_embed = nn.Linear(extrinsics_dim, embed_dim)
        blocks = [
            Block(embed_dim, num_heads, mlp_ratio, norm_eps=norm_eps, activation_checkpointing=activation_checkpointing)
            for _ in range(depth)
        ]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.proj = nn.Linear(embed_dim, encoder_dim)
        initialize_transformer(self, blocks)
        self.extrinsics_embed.requires_grad_(use_extrinsics)  # what no step uses must not wait for a gradient

    def forward(
        self,
        tokens: Float[Tensor, "B T_N encoder_dim"],  # frame by frame
        actions: Float[Tensor, "B T action_dim"],
        states: Float[Tensor, "B T state_dim"],
        grid: TokenGrid,  # T frames of N = height * width tokens
        extrinsics: Float[Tensor, "B T extrinsics_dim"] | None = None,
    ) -> Float[Tensor, "B T_N encoder_dim"]:  # at each frame what is predicted for the next
        """Raises ValueError where sizes don't agree, or extrinsics are used and missing."""
        frames, per_frame = grid.frames, grid.height * grid.width
        if tokens.shape[1] != grid.num_tokens:
            raise ValueError(
                f"{tokens.shape[1]} tokens are no {frames} frames of {grid.height} x {grid.width} tokens; give the "
                f"grid that they were made on"
            )
        conditions = [self._condition("actions", self.action_embed, actions, frames)]
        conditions.append(self._condition("states", self.state_embed, states, frames))
        if self.use_extrinsics:
            if extrinsics is None:
                raise ValueError("this predictor uses extrinsics, but none were given")
            conditions.append(self._condition("extrinsics", self.extrinsics_embed, extrinsics, frames))
        patches = self.embed(tokens).unflatten(1, (frames, per_frame))
        sequence = torch.cat((torch.stack(conditions, dim=2), patches), dim=2).flatten(1, 2)
        rotary = self._rotary(grid, len(conditions), tokens.device)
        visible = block_causal(frames, len(conditions) + per_frame, tokens.device)
        for block in self.blocks:
            sequence = block(sequence, rotary, visible)
        patches = sequence.unflatten(1, (frames, -1))[:, :, len(conditions) :].flatten(1, 2)
        return self.proj(self.norm(patches))

    def _condition(self, name: str, embed: nn.Linear, values: Tensor, frames: int) -> Float[Tensor, "B T embed_dim"]:
        if values.shape[1:] != (frames, embed.in_features):
            raise ValueError(
                f"{name} of shape {tuple(values.shape)} must be (clips, {frames} frames, {embed.in_features} numbers)"
            )
        return embed(values)

    def _rotary(self, grid: TokenGrid, num_conditions: int, device: torch.device) -> RotaryTable:
        """Patches turn by frame, row and column; conditions by their frame alone (row and column 0 turn nothing)."""
        patches = grid.positions(torch.arange(grid.num_tokens, device=device)).unflatten(0, (grid.frames, -1))
        conditions = torch.zeros_like(patches[:, :1]).expand(-1, num_conditions, -1).clone()
        conditions[..., 0] = patches[:, :1, 0]
        positions = torch.cat((conditions, patches), dim=1).flatten(0, 1)
        table = rotary_table(positions, self.head_dim, tiled=self.is_tiled)
        return RotaryTable(*(factor[None, None] for factor in table))


def block_causal(frames: int, per_frame: int, device: torch.device) -> Bool[Tensor, "K K"]:
    """Which tokens (columns) each token (row) attends to: all of its own frame and of those before."""
    frame = torch.arange(frames, device=device).repeat_interleave(per_frame)
    return frame[:, None] >= frame[None, :]
