"""Token dynamics: V-JEPA 2-AC's predictor as the dynamics of a world model (arXiv 2506.09985, section 3)."""

from typing import Literal, final, get_args

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vjepa.grid import TokenGrid
from vjepa.models.dynamics.action_predictor import ActionPredictor
from vjepa.models.dynamics.pose import POSE_DIM, moved_pose
from vjepa.models.dynamics.rollout import Dynamics
from vjepa.models.layers import Checkpointing
from vjepa.models.position import PositionKind

StateUpdate = Literal["held", "pose"]


@final
class TokenDynamics(Dynamics):
    """Patch tokens of the frames so far, with actions and states, to the tokens of the next frame.

    Args:
        embed_dim: width of the encoder's tokens.
        action_dim: numbers of an action chunk; 7 for an arm at one action per frame.
        grid: rows and columns of a frame's tokens.
        state_dim: numbers of a state: pose of the end effector, and gripper.
        state_update: states of imagined frames: "held": the last known; "pose": a hand's, moved by each raw action of
            the chunk, as V-JEPA 2-AC plans. Poses and actions are then of 7 numbers (`moved_pose`), and the world model
            must leave actions as they are (`normalize_actions: false`).
        context: frames that it looks back at: as many as windows of training have steps, 7 as released.
        width, depth, num_heads: 1024, 24 and 16 as released.
        normalize: layer-norm predictions, as the encoder's tokens are, before they are fed back.
        extrinsics_dim, use_extrinsics, position, activation_checkpointing: as of `ActionPredictor`.
    """

    needs_states = True

    def __init__(
        self,
        embed_dim: int = 1408,
        action_dim: int = 7,
        grid: tuple[int, int] = (16, 16),
        state_dim: int = 7,
        state_update: StateUpdate = "held",
        context: int = 7,
        width: int = 1024,
        depth: int = 24,
        num_heads: int = 16,
        normalize: bool = True,
        extrinsics_dim: int = 6,
        use_extrinsics: bool = False,
        position: PositionKind = "rotary_tiled",
        activation_checkpointing: Checkpointing = False,
    ):
        super().__init__()
        if context < 1:
            raise ValueError(f"context ({context}) must be at least 1")
        if state_update not in get_args(StateUpdate):
            raise ValueError(f"state_update '{state_update}' must be one of {', '.join(get_args(StateUpdate))}")
        if state_update == "pose" and (state_dim != POSE_DIM or action_dim % POSE_DIM):
            raise ValueError(
                f"state_update: pose needs states of {POSE_DIM} numbers and raw actions of as many, not a state_dim of "
                f"{state_dim} and an action_dim of {action_dim}; use state_update: held"
            )
        self.embed_dim = embed_dim
        self.action_dim = action_dim
        self.grid = (grid[0], grid[1])
        self.state_update = state_update
        self.needs_raw_actions = state_update == "pose"
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
        latents: Float[Tensor, "B T N D"],  # N = rows * columns
        actions: Float[Tensor, "B T A"],
        states: Float[Tensor, "B T S"] | None = None,
        extrinsics: Float[Tensor, "B X"] | None = None,
    ) -> Float[Tensor, "B T N D"]:
        """Raises ValueError where shapes don't fit, or states are missing."""
        self.require_action_dim(actions)
        if states is None:
            raise ValueError("token dynamics need a state for each frame and the data has none")
        frames = latents.shape[1]
        of_frames = None if extrinsics is None else extrinsics.unsqueeze(1).expand(-1, frames, -1)
        grid = TokenGrid(frames, *self.grid)
        predicted = self.predictor(latents.flatten(1, 2), actions, states, grid, of_frames).view(latents.shape)
        return F.layer_norm(predicted, predicted.shape[-1:]) if self.normalize else predicted

    def next_states(self, states: Float[Tensor, "B S"], actions: Float[Tensor, "B A"]) -> Float[Tensor, "B S"]:
        if self.state_update == "held":
            return states
        for action in actions.unflatten(-1, (-1, POSE_DIM)).unbind(-2):
            states = moved_pose(states, action)
        return states
