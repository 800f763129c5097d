"""A goal-conditioned inverse model on frozen latents (arXiv 2605.08732), by which behaviour cloning acts.

It is as good as search in many worlds and a hundred times cheaper, but no better than the behaviour it is trained on.
"""

from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


@final
class GoalInverseModel(nn.Module):
    """Latents of the present and of a goal to the next action.

    Args:
        embed_dim: width of a latent, all tokens together.
        action_dim: numbers of the action.
        hidden_dim: width of its two hidden layers.
    """

    def __init__(self, embed_dim: int, action_dim: int, hidden_dim: int = 256):
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(2 * embed_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, action_dim),
        )

    def forward(self, latents: Float[Tensor, "B N D"], goals: Float[Tensor, "B N D"]) -> Float[Tensor, "B A"]:
        return self.network(torch.cat((latents.flatten(1), goals.flatten(1)), dim=1))

    def loss(
        self,
        latents: Float[Tensor, "B N D"],
        goals: Float[Tensor, "B N D"],  # of later frames of the same episodes
        actions: Float[Tensor, "B A"],  # after the first frames
    ) -> Float[Tensor, ""]:
        return F.mse_loss(self(latents, goals), actions)
