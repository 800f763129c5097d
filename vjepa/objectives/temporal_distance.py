"""Temporal distance: in how many blocks of actions a goal can be reached, learned from latents of episodes alone.

Latents that are near each other may be far apart to walk, as both sides of a wall are. A planner that is charged by how
alike latents look stays behind the wall; one that is charged by blocks goes by way of the door.
"""

import itertools

import torch
from torch import Tensor, nn

from vjepa.models import frozen_copy, update_ema


class TemporalDistance(nn.Module):
    """Distance between embeddings of two latents, trained to be the blocks of the shortest way from one to the other.

    The loss is HILP's (arXiv 2402.15567, equation 7): one block leads from a latent to the next of its episode, so a
    goal is at most one block further from the first. Expectile regression makes "at most" of many episodes the shortest
    way of all, none of which has to be whole in any. Where dynamics imagine what other blocks would lead to, the next
    latent nearest to the goal counts, as in value iteration. A distance of embeddings is the same there and back and
    never longer than by way of a third place; where no way leads back it is between both.

    Args:
        embed_dim: width of a latent; several tokens are averaged.
        hidden_dim, depth, output_dim: of the network that embeds.
        expectile: how much more a distance that is too long counts than one that is too short: 0.5 is the mean of
            what episodes did, towards 1 it is the best of it.
        discount: of a block that lies one block further ahead; distances saturate at 1 / (1 - discount).
        momentum: of the moving average that gives the targets.
        imagined_blocks: how many other blocks the dynamics imagine from each latent; 0 for those alone that were done.
        weight: beside the losses of the dynamics. No parameters are shared, but gradients are clipped together.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        embed_dim: int,
        hidden_dim: int = 128,
        depth: int = 2,
        output_dim: int = 32,
        expectile: float = 0.9,
        discount: float = 0.98,
        momentum: float = 0.95,
        imagined_blocks: int = 8,
        weight: float = 0.1,
    ):
        super().__init__()
        if min(hidden_dim, depth, output_dim) < 1:
            raise ValueError(
                f"hidden_dim ({hidden_dim}), depth ({depth}) and output_dim ({output_dim}) must be at least 1"
            )
        for name, value, least in (("expectile", expectile, 0.5), ("discount", discount, 0.0)):
            if not least <= value < 1:
                raise ValueError(f"{name} ({value}) must be from {least:g} to below 1")
        if imagined_blocks < 0:
            raise ValueError(f"imagined_blocks ({imagined_blocks}) must be at least 0")
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum ({momentum}) must be from 0 to 1")
        self.embed_dim = embed_dim
        self.expectile = expectile
        self.discount = discount
        self.momentum = momentum
        self.imagined_blocks = imagined_blocks
        self.weight = weight
        widths = [embed_dim, *[hidden_dim] * depth]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.LayerNorm(after), nn.SiLU()]
        self.network = nn.Sequential(*layers, nn.Linear(hidden_dim, output_dim))
        self.target_network = frozen_copy(self.network)
        self.register_buffer("mean", torch.zeros(embed_dim))  # of latents, which the networks see standardized
        self.register_buffer("std", torch.ones(embed_dim))

    def fit_standard(
        self,
        latents: Tensor,  # (F, N, D) of all frames
    ) -> None:
        """Take mean and deviation of what will be seen."""
        tokens = latents.mean(-2)
        self.mean.copy_(tokens.mean(0))
        self.std.copy_(tokens.std(0).clamp(min=1e-6))

    def embed(
        self,
        latents: Tensor,  # (..., N, D)
    ) -> Tensor:  # (..., E), whose distances are in blocks
        return self.network(self._standardized(latents))

    def forward(
        self,
        latents: Tensor,  # (..., N, D)
        goals: Tensor,  # (..., N, D)
    ) -> Tensor:  # (...), blocks
        return between(self.embed(latents), self.embed(goals))

    def loss(
        self,
        latents: Tensor,  # (B, N, D)
        after: Tensor,  # (B, K, N, D) one block later, what K blocks lead to
        goals: Tensor,  # (B, N, D) of the same worlds
        arrived: Tensor,  # (B,) bool: the goal is the latent itself
    ) -> Tensor:  # (), blocks squared
        with torch.no_grad():
            there, goal = (self.target_network(self._standardized(part)) for part in (after, goals.unsqueeze(1)))
            target = (1 + self.discount * between(there, goal).amin(1)).masked_fill(arrived, 0.0)
        error = self(latents, goals) - target
        share = torch.where(error > 0, self.expectile, 1 - self.expectile)
        return (share * error.square()).mean()

    def update_target(self) -> None:
        update_ema(self.target_network, self.network, self.momentum)

    def _standardized(
        self,
        latents: Tensor,  # (..., N, D)
    ) -> Tensor:  # (..., D)
        return (latents.mean(-2) - self.mean) / self.std


def between(
    first: Tensor,  # (..., E)
    second: Tensor,  # (..., E)
) -> Tensor:  # (...)
    """Euclidean distance, whose gradient is finite at 0, too."""
    return (first - second).square().sum(-1).clamp(min=1e-6).sqrt()
