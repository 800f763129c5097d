"""Dynamics of pooled latents that look at one frame: a residual network, and a recurrent cell."""

from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from vjepa.models.dynamics.rollout import OneFrameDynamics


@final
class ResidualDynamics(OneFrameDynamics):
    """The latent plus a change that a small network predicts from it and the action, for each token separately.

    Args:
        embed_dim: width of a latent.
        action_dim: numbers of an action chunk.
        hidden_dim, depth: width and number of hidden layers.
    """

    def __init__(self, embed_dim: int, action_dim: int, hidden_dim: int = 128, depth: int = 2):
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth ({depth}) must be at least 1")
        self.embed_dim = embed_dim
        self.action_dim = action_dim
        self.latent_layer = nn.Linear(embed_dim, hidden_dim)
        self.action_layer = nn.Linear(action_dim, hidden_dim, bias=False)
        hidden: list[nn.Module] = [nn.SiLU()]
        for _ in range(depth - 1):
            hidden += [nn.Linear(hidden_dim, hidden_dim), nn.SiLU()]
        self.change = nn.Sequential(*hidden, nn.Linear(hidden_dim, embed_dim))

    def conditions(self, actions: Tensor) -> Tensor:
        return self.action_layer(actions)

    def step(
        self, latents: Float[Tensor, "... N D"], conditions: Float[Tensor, "... hidden_dim"]
    ) -> Float[Tensor, "... N D"]:
        return latents + self.change(self.latent_layer(latents) + conditions.unsqueeze(-2))


@final
class GRUDynamics(OneFrameDynamics):
    """A gated recurrent cell whose hidden state is the latent and whose input is the action (PLDM, EB-JEPA).

    Args:
        embed_dim: width of a latent.
        action_dim: numbers of an action chunk.
        num_layers: cells one above the other, each with the one latent as its state.
    """

    def __init__(self, embed_dim: int, action_dim: int, num_layers: int = 1):
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"num_layers ({num_layers}) must be at least 1")
        self.embed_dim = embed_dim
        self.action_dim = action_dim
        widths = [action_dim, *[embed_dim] * (num_layers - 1)]
        self.cells = nn.ModuleList(nn.GRUCell(width, embed_dim) for width in widths)

    def step(self, latents: Float[Tensor, "... N D"], conditions: Float[Tensor, "... A"]) -> Float[Tensor, "... N D"]:
        state = latents.flatten(0, -2)
        given = conditions.unsqueeze(-2).expand(*latents.shape[:-1], -1).flatten(0, -2)
        for cell in self.cells:
            given = cell(given, state)
        return given.view(latents.shape)
