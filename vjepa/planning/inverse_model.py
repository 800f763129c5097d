"""An amortised planner: one network names the next action from where one is and where one wants to be.

A goal-conditioned inverse model on frozen latents (2605.08732): as good as search in many worlds, a hundred times
cheaper, and no better than the behaviour that it learned from where that never goes to goals.
"""

from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vjepa.planning.planner import Plan, Problem


@final
class GoalInverseModel(nn.Module):
    """Latents of now and of a goal to the next action.

    Args:
        embed_dim: numbers of a latent, all tokens together.
        action_dim: numbers of the action.
        hidden_dim: of its two hidden layers.
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
        goals: Float[Tensor, "B N D"],  # what was seen later in the same episode
        actions: Float[Tensor, "B A"],  # what was done first
    ) -> Float[Tensor, ""]:
        return F.mse_loss(self(latents, goals), actions)


@final
class InverseModelPlanner:
    """Does what an inverse model says, at every step anew; the search's `plan`, without a search."""

    horizon = 1

    def __init__(self, model: GoalInverseModel):
        self.model = model

    @torch.inference_mode()
    def plan(self, problem: Problem, generator: torch.Generator, previous: Tensor | None = None) -> Plan:
        action = problem.limit.bounded(self.model(problem.latent[None], problem.goal[None]))
        return Plan(action, float(problem.cost(action[None])))
