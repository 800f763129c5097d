"""What a world model's training step has made, and what its terms have in common."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vjepa.models.dynamics.rollout import Dynamics
from vjepa.objectives.term import Step, Term, TermValue


class ModelSizes(NamedTuple):
    """Sizes of a world model, by which its terms build their networks."""

    embed_dim: int
    action_dim: int  # of an action chunk
    frame_size: tuple[int, int]  # height, width
    static_dim: int = 0  # last features of a latent, which describe what is constant within an episode


@dataclass(kw_only=True)
class WindowStep(Step):
    """A step on windows of episodes: B windows of T frames, each of N tokens.

    Args:
        frames: normalised.
        latents: of all frames.
        targets: what predictions are compared with, for all frames.
        actions: normalised; chunk t leads from frame t to frame t + 1.
        states, extrinsics: None where the data has none.
        episodes: equal numbers are windows of one episode.
        predictions: a rollout from the first `num_observed` frames.
        rollouts: for k = 1, 2, ... latents k chunks after frames 0, 1, ...; those after frame 0 are `predictions`. Only
            with a `Rollout` term, and of dynamics that look at one frame.
        dynamics: predicted them.
    """

    frames: Float[Tensor, "B T 3 H W"]
    latents: Float[Tensor, "B T N D"]
    targets: Float[Tensor, "B T N D"]
    actions: Float[Tensor, "B T-1 A"]
    states: Float[Tensor, "B T S"] | None
    extrinsics: Float[Tensor, "B X"] | None
    episodes: Int64[Tensor, " B"]
    predictions: Float[Tensor, "B K N D"]
    num_observed: int
    dynamics: Dynamics
    rollouts: list[Tensor] | None = None  # of (B, T - k, N, D)

    @property
    def predicted_frames(self) -> slice:
        """Positions in a window of the frames that `predictions` are of."""
        return slice(self.num_observed, self.num_observed + self.predictions.shape[1])


class WindowTerm(Term[WindowStep]):
    """A weighted number. Subclasses implement `value`. With a weight of 0 it is logged, and not minimised."""

    def __init__(self, weight: float = 1.0):
        super().__init__()
        self.weight = weight

    @property
    def dynamics_weight(self) -> float:
        """Weight of the part of the term that trains the dynamics."""
        return 0.0

    def build(self, sizes: ModelSizes) -> None:
        """Build the term's networks. Raise ValueError where the sizes do not fit."""

    def value(self, step: WindowStep) -> Float[Tensor, ""]:
        raise NotImplementedError

    def forward(self, step: WindowStep) -> TermValue:
        if self.weight:
            value = self.value(step)
            return TermValue(self.weight * value, {self.name: value})
        with torch.no_grad():
            value = self.value(step)
        return TermValue(torch.zeros_like(value), {self.name: value})
