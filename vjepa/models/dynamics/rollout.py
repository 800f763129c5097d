"""A rollout: dynamics fed with their own predictions, step after step."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Dynamics(nn.Module):
    """Dynamics: forward(latents, actions, states, extrinsics) predicts, at each frame, the latent of the next.

    latents (B, T, N, D), actions (B, T, A) the chunk after each frame, states (B, T, S) or None, extrinsics (B, X) or
    None, to (B, T, N, D). Nothing at a frame may depend on later frames or actions.
    """

    embed_dim: int
    action_dim: int  # numbers of an action chunk
    needs_states: bool = False
    needs_raw_actions: bool = False  # in the data's own units, not normalised
    context: int = 1  # frames that it looks back at; 1 assumes that the last latent is the whole state (Markov)

    def require_action_dim(self, actions: Tensor) -> None:
        """Raise ValueError where actions are of another length than the dynamics take."""
        if actions.shape[-1] != self.action_dim:
            raise ValueError(
                f"actions of {actions.shape[-1]} numbers do not fit dynamics whose action chunks have "
                f"{self.action_dim}; give data and dynamics the same action_dim and frame_step"
            )

    def next_states(
        self,
        states: Float[Tensor, "B S"],
        actions: Float[Tensor, "B A"],  # the chunk after them
    ) -> Float[Tensor, "B S"]:
        """States of the next frame where a rollout does not know them: here the same again."""
        return states


class OneFrameDynamics(Dynamics):
    """Dynamics that look at one frame: conditions on actions are computed for all steps at once."""

    context = 1

    def conditions(self, actions: Tensor) -> Tensor:
        """(..., A) to (..., C): the input of `step` from actions."""
        return actions

    def step(self, latents: Tensor, conditions: Tensor) -> Tensor:
        """(..., N, D) and (..., C) to the latents one chunk later."""
        raise NotImplementedError

    def forward(
        self,
        latents: Float[Tensor, "B T N D"],
        actions: Float[Tensor, "B T A"],
        states: Tensor | None = None,
        extrinsics: Tensor | None = None,
    ) -> Float[Tensor, "B T N D"]:
        self.require_action_dim(actions)
        return self.step(latents, self.conditions(actions))

    def roll(self, latents: Float[Tensor, "B N D"], actions: Float[Tensor, "B H A"]) -> Float[Tensor, "B H N D"]:
        """Latents after each chunk."""
        self.require_action_dim(actions)
        imagined = []
        for condition in self.conditions(actions).unbind(1):
            latents = self.step(latents, condition)
            imagined.append(latents)
        return torch.stack(imagined, dim=1)


def rollout(
    dynamics: Dynamics,
    latents: Float[Tensor, "B C N D"],  # of the first frames
    actions: Tensor,  # (B, C - 1 + H, A)
    states: Tensor | None = None,  # (B, at least C, S); where they end, `next_states` goes on
    extrinsics: Float[Tensor, "B X"] | None = None,
) -> Float[Tensor, "B H N D"]:  # of the frames after the C-th
    """Latents after each chunk from the C-th on; the dynamics look back at most at `context` frames.

    Raises ValueError where there are no actions to imagine with.
    """
    num_known = latents.shape[1]
    if actions.shape[1] < num_known:
        raise ValueError(
            f"{actions.shape[1]} action chunks after {num_known} frames leave nothing to imagine; give at least "
            f"{num_known}"
        )
    if isinstance(dynamics, OneFrameDynamics):
        return dynamics.roll(latents[:, -1], actions[:, num_known - 1 :])
    states = None if states is None else _states_along(dynamics, states, actions)
    window = latents[:, -dynamics.context :]
    imagined = []
    for now in range(num_known - 1, actions.shape[1]):  # the last frame that is known or imagined
        first = now + 1 - window.shape[1]
        window_states = None if states is None else states[:, first : now + 1]
        following = dynamics(window, actions[:, first : now + 1], window_states, extrinsics)[:, -1:]
        imagined.append(following)
        window = torch.cat((window, following), dim=1)[:, -dynamics.context :]
    return torch.cat(imagined, dim=1)


def _states_along(
    dynamics: Dynamics,
    states: Float[Tensor, "B K S"],  # of the first frames
    actions: Float[Tensor, "B T A"],
) -> Float[Tensor, "B T S"]:  # at each frame that an action follows
    along = list(states[:, : actions.shape[1]].unbind(1))
    for chunk in actions[:, len(along) - 1 : -1].unbind(1):
        along.append(dynamics.next_states(along[-1], chunk))
    return torch.stack(along, dim=1)


def rollouts_from_every_frame(
    dynamics: OneFrameDynamics, latents: Float[Tensor, "B T N D"], actions: Float[Tensor, "B T-1 A"], num_steps: int
) -> list[Tensor]:  # for k = 1 .. num_steps of (B, T - k, N, D): latents k chunks after frames 0, 1, ...
    """All rollouts within a window of at most so many steps, for dynamics that look at one frame."""
    imagined, latents = [], latents[:, :-1]
    for steps in range(1, num_steps + 1):
        latents = dynamics(latents, actions[:, steps - 1 :])
        imagined.append(latents)
        latents = latents[:, :-1]
    return imagined
