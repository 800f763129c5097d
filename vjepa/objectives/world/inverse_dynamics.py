"""Inverse dynamics as a term: latents of two frames predict the action chunk between them (PLDM, arXiv 2502.14819)."""

from typing import final

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vjepa.models.dynamics.inverse_dynamics import InverseDynamics
from vjepa.objectives.world.step import ModelSizes, WindowStep, WindowTerm


@final
class InverseDynamicsTerm(WindowTerm):
    """Mean squared error of predicted action chunks.

    Args:
        weight: of the term.
        hidden_dim: of the network.
    """

    network: InverseDynamics

    def __init__(self, weight: float = 1.0, hidden_dim: int = 128):
        super().__init__(weight)
        self.hidden_dim = hidden_dim

    def build(self, sizes: ModelSizes) -> None:
        self.network = InverseDynamics(sizes.embed_dim, sizes.action_dim, self.hidden_dim)

    def value(self, step: WindowStep) -> Float[Tensor, ""]:
        return F.mse_loss(self.network(step.latents[:, :-1], step.latents[:, 1:]), step.actions)
