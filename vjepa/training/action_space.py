"""The actions of a world model: their normalisation, and the limit of the world that its data is from."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from vjepa.planning.limits import ActionLimit


class ActionSpace(nn.Module):
    """Raw actions of `action_dim` numbers, `frame_step` of which make an action chunk. Statistics are buffers."""

    mean: Tensor
    std: Tensor
    limit_size: Tensor
    limit_is_norm: Tensor

    def __init__(self, action_dim: int, frame_step: int):
        super().__init__()
        if action_dim < 1 or frame_step < 1:
            raise ValueError(f"action_dim ({action_dim}) and frame_step ({frame_step}) must be at least 1")
        self.action_dim = action_dim
        self.frame_step = frame_step
        self.register_buffer("mean", torch.zeros(action_dim))
        self.register_buffer("std", torch.ones(action_dim))
        self.register_buffer("limit_size", torch.tensor(0.0))  # 0 where it is unknown
        self.register_buffer("limit_is_norm", torch.tensor(False))

    @property
    def chunk_dim(self) -> int:
        """Numbers of an action chunk."""
        return self.frame_step * self.action_dim

    @property
    def limit(self) -> ActionLimit | None:
        """The largest raw action, where the data has it."""
        size = float(self.limit_size)
        return ActionLimit(size, "norm" if self.limit_is_norm else "box") if size > 0 else None

    def fit_normalization(self, mean: np.ndarray, std: np.ndarray) -> None:
        """Give raw actions of this mean and deviation zero mean and unit variance."""
        self.mean.copy_(torch.as_tensor(mean))
        self.std.copy_(torch.as_tensor(std))

    def set_limit(self, limit: ActionLimit) -> None:
        self.limit_size.fill_(limit.size)
        self.limit_is_norm.fill_(limit.kind == "norm")

    def normalized(self, chunks: Float[Tensor, "*batch chunk_dim"]) -> Float[Tensor, "*batch chunk_dim"]:
        """Raises ValueError where chunks have another size."""
        if chunks.shape[-1] != self.chunk_dim:
            raise ValueError(
                f"an action chunk of {chunks.shape[-1]} numbers does not fit this model, which takes {self.frame_step} "
                f"raw actions of {self.action_dim} numbers ({self.chunk_dim}); give data and model the same frame_step "
                f"and action_dim"
            )
        raw = chunks.unflatten(-1, (self.frame_step, self.action_dim))
        return ((raw - self.mean) / self.std).flatten(-2)
