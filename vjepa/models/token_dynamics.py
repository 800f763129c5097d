"""Token dynamics: V-JEPA 2-AC's predictor as the dynamics of a world model (arXiv 2506.09985, section 3)."""

from typing import final

import torch.nn.functional as F
from torch import Tensor

from vjepa.grid import TokenGrid
from vjepa.models.action_predictor import ActionPredictor
from vjepa.models.position import PositionKind
from vjepa.models.rollout import Dynamics


@final
class TokenDynamics(Dynamics):
    """Patch tokens of the frames so far, with actions and states, to the tokens of the next frame.

    Args:
        embed_dim: width of the encoder's tokens.
        action_dim: numbers of an action block; 7 for an arm at one action per frame.
        grid: rows and columns of a frame's tokens.
        state_dim: numbers of a state: pose of the end effector, and gripper.
        context: frames that it looks back at; 8 as trained.
        width, depth, num_heads: 1024, 24 and 16 as released.
        normalize: layer-norm what is predicted, as the encoder's tokens are, before it is fed back.
        extrinsics_dim, use_extrinsics, position, activation_checkpointing: as of `ActionPredictor`.
    """

    needs_states = True

    def __init__(
        self,
        embed_dim: int = 1408,
        action_dim: int = 7,
        grid: tuple[int, int] = (16, 16),
        state_dim: int = 7,
        context: int = 8,
        width: int = 1024,
        depth: int = 24,
        num_heads: int = 16,
        normalize: bool = True,
        extrinsics_dim: int = 6,
        use_extrinsics: bool = False,
        position: PositionKind = "rotary_tiled",
        activation_checkpointing: bool = False,
    ):
        super().__init__()
        if context < 1:
            raise ValueError(f"context ({context}) must be at least 1")
        self.embed_dim = embed_dim
        self.action_dim = action_dim
        self.grid = (grid[0], grid[1])
        self.context = context
        self.normalize = normalize
        self.predictor = ActionPredictor(
            embed_dim,
            width,
            depth,
            num_heads,
            action_dim=action_dim,
            state_dim=state_dim,
            extrinsics_dim=extrinsics_dim,
            use_extrinsics=use_extrinsics,
            position=position,
            activation_checkpointing=activation_checkpointing,
        )

    def forward(
        self,
        latents: Tensor,  # (B, T, N, D), N = rows * columns
        actions: Tensor,  # (B, T, A)
        states: Tensor | None = None,  # (B, T, S)
        extrinsics: Tensor | None = None,  # (B, X)
    ) -> Tensor:  # (B, T, N, D)
        """Raises ValueError where shapes don't fit, or states are missing."""
        self.require_action_dim(actions)
        if states is None:
            raise ValueError("token dynamics need a state for each frame and the data has none")
        frames = latents.shape[1]
        of_frames = None if extrinsics is None else extrinsics.unsqueeze(1).expand(-1, frames, -1)
        grid = TokenGrid(frames, *self.grid)
        predicted = self.predictor(latents.flatten(1, 2), actions, states, grid, of_frames).view(latents.shape)
        return F.layer_norm(predicted, predicted.shape[-1:]) if self.normalize else predicted
