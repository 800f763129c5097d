"""Temporal distance: the number of action chunks to a goal, learned from latents of episodes (HILP, arXiv 2402.15567).

Latents that are close may be far apart to travel, as the two sides of a wall are. A planner whose cost is the
difference of latents stays behind the wall; one whose cost is the number of chunks takes the door.
"""

import itertools

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vjepa.models import frozen_copy, update_ema


class TemporalDistance(nn.Module):
    """Distance between embeddings of two latents, trained to be the chunks of the shortest path between them.

    The loss is HILP's equation 7: one chunk leads from a latent to the next of its episode, so a goal is at most one
    chunk further from the first. Expectile regression turns "at most" into the shortest of all paths, none of which has
    to occur whole in any episode. Where dynamics imagine the results of other chunks, the next latent nearest to the
    goal counts, as in value iteration. A distance of embeddings is symmetric and obeys the triangle inequality; where
    no path leads back it lies between both directions.

    Args:
        embed_dim: width of a latent; several tokens are averaged.
        hidden_dim, depth, output_dim: of the network that embeds.
        expectile: weight of distances that are too long, 1 - expectile that of distances that are too short: 0.5 gives
            the mean over episodes, values towards 1 the shortest.
        discount: of the distance one chunk ahead; distances saturate at 1 / (1 - discount).
        momentum: of the moving average that gives the targets.
        imagined_chunks: other chunks that the dynamics imagine from each latent; 0 for recorded ones alone.
        weight: beside the loss of the dynamics. No parameters are shared, but gradients are clipped together.
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
        imagined_chunks: int = 8,
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
        if imagined_chunks < 0:
            raise ValueError(f"imagined_chunks ({imagined_chunks}) must be at least 0")
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum ({momentum}) must be from 0 to 1")
        self.embed_dim = embed_dim
        self.expectile = expectile
        self.discount = discount
        self.momentum = momentum
        self.imagined_chunks = imagined_chunks
        self.weight = weight
        layers: list[nn.Module] = []
        for width, next_width in itertools.pairwise([embed_dim, *[hidden_dim] * depth]):
            layers += [nn.Linear(width, next_width), nn.LayerNorm(next_width), nn.SiLU()]
        self.network = nn.Sequential(*layers, nn.Linear(hidden_dim, output_dim))
        self.target_network = frozen_copy(self.network)
        self.register_buffer("mean", torch.zeros(embed_dim))  # of latents, which enter the networks standardized
        self.register_buffer("std", torch.ones(embed_dim))

    def fit_standardization(self, latents: Float[Tensor, "F N D"]) -> None:
        """Take mean and standard deviation of these latents."""
        tokens = latents.mean(-2)
        self.mean.copy_(tokens.mean(0))
        self.std.copy_(tokens.std(0).clamp(min=1e-6))

    def embed(self, latents: Float[Tensor, "*batch N D"]) -> Float[Tensor, "*batch E"]:  # distances are in chunks
        return self.network(self._standardized(latents))

    def forward(self, latents: Float[Tensor, "*#batch N D"], goals: Float[Tensor, "*#batch N D"]) -> Tensor:
        """Chunks to the goals, of shape `batch`."""
        return euclidean_distance(self.embed(latents), self.embed(goals))

    def loss(
        self,
        latents: Float[Tensor, "B N D"],
        next_latents: Float[Tensor, "B K N D"],  # after each of K chunks
        goals: Float[Tensor, "B N D"],  # of the same worlds
        at_goal: Bool[Tensor, " B"],  # the goal is the latent itself
    ) -> Float[Tensor, ""]:  # chunks squared
        with torch.no_grad():
            ahead, goal = (self.target_network(self._standardized(part)) for part in (next_latents, goals.unsqueeze(1)))
            target = (1 + self.discount * euclidean_distance(ahead, goal).amin(1)).masked_fill(at_goal, 0.0)
        error = self(latents, goals) - target
        weight = torch.where(error > 0, self.expectile, 1 - self.expectile)
        return (weight * error.square()).mean()

    def update_target(self) -> None:
        update_ema(self.target_network, self.network, self.momentum)

    def _standardized(self, latents: Float[Tensor, "*batch N D"]) -> Float[Tensor, "*batch D"]:
        return (latents.mean(-2) - self.mean) / self.std


def euclidean_distance(first: Float[Tensor, "*#batch E"], second: Float[Tensor, "*#batch E"]) -> Tensor:
    """Of shape `batch`; its gradient is finite at 0, too."""
    return (first - second).square().sum(-1).clamp(min=1e-6).sqrt()
