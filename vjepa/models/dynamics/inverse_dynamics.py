"""Inverse dynamics: predicts the action between two latents, which requires that latents represent the agent."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn


@final
class InverseDynamics(nn.Module):
    """A small network over the mean tokens of two frames.

    Args:
        embed_dim: width of a latent.
        action_dim: numbers of an action chunk.
        hidden_dim: width of the hidden layer.
    """

    def __init__(self, embed_dim: int, action_dim: int, hidden_dim: int = 128):
        super().__init__()
        self.embed_dim = embed_dim
        self.action_dim = action_dim
        self.network = nn.Sequential(nn.Linear(2 * embed_dim, hidden_dim), nn.SiLU(), nn.Linear(hidden_dim, action_dim))

    def forward(self, before: Float[Tensor, "B T N D"], after: Float[Tensor, "B T N D"]) -> Float[Tensor, "B T A"]:
        return self.network(torch.cat((before.mean(-2), after.mean(-2)), dim=-1))
