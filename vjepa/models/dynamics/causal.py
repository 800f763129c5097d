"""Causal dynamics: a transformer over the frames so far, driven by actions (LeWorldModel, arXiv 2603.19312).

Adaptive layer norm (DiT, arXiv 2212.09748): the action of a frame scales and shifts its tokens in each block, by layers
that are initialized to zero. Untrained, the dynamics predict that nothing moves.
"""

from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vjepa.models.dynamics.action_predictor import block_causal
from vjepa.models.dynamics.rollout import Dynamics
from vjepa.models.layers import Attention, GeluMlp
from vjepa.models.position import RotaryTable, rotary_table


@final
class CausalDynamics(Dynamics):
    """Tokens of a frame attend to each other and to those of the frames before it, `context` frames in all.

    Args:
        embed_dim: width of a latent's tokens.
        action_dim: numbers of an action chunk.
        num_tokens: tokens of a frame.
        width, depth, num_heads, mlp_ratio: of the transformer.
        context: frames that it looks back at, including the present one.
        state_dim: numbers of a state for each frame; 0 for none.
    """

    def __init__(
        self,
        embed_dim: int,
        action_dim: int,
        num_tokens: int = 1,
        width: int = 128,
        depth: int = 4,
        num_heads: int = 4,
        mlp_ratio: float = 4.0,
        context: int = 3,
        state_dim: int = 0,
    ):
        super().__init__()
        if context < 1 or num_tokens < 1:
            raise ValueError(f"context ({context}) and num_tokens ({num_tokens}) must be at least 1")
        self.embed_dim = embed_dim
        self.action_dim = action_dim
        self.num_tokens = num_tokens
        self.context = context
        self.state_dim = state_dim
        self.needs_states = state_dim > 0
        self.embed = nn.Linear(embed_dim, width)
        self.place = nn.Parameter(torch.randn(num_tokens, width) * 0.02)
        self.condition = nn.Sequential(nn.Linear(action_dim + state_dim, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(ConditionedBlock(width, num_heads, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.change = nn.Linear(width, embed_dim)
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(self.change.bias)
        self.head_dim = width // num_heads

    def forward(
        self,
        latents: Float[Tensor, "B T N D"],
        actions: Float[Tensor, "B T A"],
        states: Float[Tensor, "B T S"] | None = None,
        extrinsics: Tensor | None = None,
    ) -> Float[Tensor, "B T N D"]:
        """Raises ValueError where shapes don't fit, or states are needed and missing."""
        self.require_action_dim(actions)
        if latents.shape[2] != self.num_tokens:
            raise ValueError(
                f"latents of {latents.shape[2]} tokens don't fit dynamics of {self.num_tokens}; give the dynamics the "
                f"encoder's num_tokens"
            )
        given = actions
        if self.needs_states:
            if states is None:
                raise ValueError("these dynamics need states and the data has none; give them state_dim: 0")
            if states.shape[-1] != self.state_dim:
                raise ValueError(
                    f"states of {states.shape[-1]} numbers don't fit dynamics with a state_dim of {self.state_dim}; "
                    f"give the dynamics the data's state_dim"
                )
            given = torch.cat((actions, states), dim=-1)
        if latents.shape[1] <= self.context:
            return self._window(latents, given)
        # Each frame by the window of a rollout, since stacked blocks would look farther back.
        windows = range(1, latents.shape[1] - self.context + 1)
        later = [
            self._window(*(part[:, first : first + self.context] for part in (latents, given))) for first in windows
        ]
        first = self._window(latents[:, : self.context], given[:, : self.context])
        return torch.cat((first, *(window[:, -1:] for window in later)), dim=1)

    def _window(
        self,
        latents: Float[Tensor, "B T N D"],  # T at most `context`
        given: Tensor,  # (B, T, A + S)
    ) -> Float[Tensor, "B T N D"]:
        frames, per_frame = latents.shape[1:3]
        tokens = (self.embed(latents) + self.place).flatten(1, 2)  # (B, T * N, width)
        conditions = self.condition(given).repeat_interleave(per_frame, dim=1)
        visible = block_causal(frames, per_frame, latents.device)
        rotary = self._rotary(frames, per_frame, latents.device)
        for block in self.blocks:
            tokens = block(tokens, conditions, rotary, visible)
        return latents + self.change(self.norm(tokens)).unflatten(1, (frames, per_frame))

    def _rotary(self, frames: int, per_frame: int, device: torch.device) -> RotaryTable:
        """Positions are relative in time, so that a window gives the same wherever it lies."""
        positions = torch.zeros(frames * per_frame, 3, device=device)
        positions[:, 0] = torch.arange(frames, device=device).repeat_interleave(per_frame)
        return RotaryTable(*(factor[None, None] for factor in rotary_table(positions, self.head_dim, tiled=False)))


@final
class ConditionedBlock(nn.Module):
    """A transformer block whose norms and branches are scaled and shifted by a condition of each token."""

    def __init__(self, width: int, num_heads: int, mlp_ratio: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.attn = Attention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.mlp = GeluMlp(width, mlp_ratio)
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(
        self,
        tokens: Float[Tensor, "B K width"],
        conditions: Float[Tensor, "B K width"],
        rotary: RotaryTable,
        visible: Bool[Tensor, "K K"],
    ) -> Float[Tensor, "B K width"]:
        scale1, shift1, gate1, scale2, shift2, gate2 = self.modulation(conditions).chunk(6, dim=-1)
        tokens = tokens + gate1 * self.attn(self.norm1(tokens) * (1 + scale1) + shift1, rotary, visible)
        return tokens + gate2 * self.mlp(self.norm2(tokens) * (1 + scale2) + shift2)
