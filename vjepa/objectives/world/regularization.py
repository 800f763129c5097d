"""Anti-collapse regularization of latents, over all frames of a batch or within episodes."""

from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vjepa.objectives.regularizer import Regularizer
from vjepa.objectives.term import TermValue
from vjepa.objectives.world.step import ModelSizes, WindowStep, WindowTerm


@final
class FrameRegularization(WindowTerm):
    """A regularizer on predicted latents and the latents of their frames; its own `weight` is the term's."""

    def __init__(self, regularizer: Regularizer):
        super().__init__()
        self.regularizer = regularizer

    def forward(self, step: WindowStep) -> TermValue:
        true = step.latents[:, step.predicted_frames]
        value = self.regularizer(step.predictions.flatten(0, 1), true.flatten(0, 1), step.number)
        return TermValue(value.loss, self.named_parts(value.parts))


@final
class EpisodeRegularization(WindowTerm):
    """A regularizer on latents minus their mean over an episode, so that what changes within episodes spreads.

    Without it a model of worlds with many layouts may encode only the layout.

    Args:
        regularizer: its own `weight` is the term's.
        static_dim: last features of a latent to leave out; the encoder's if None.
    """

    def __init__(self, regularizer: Regularizer, static_dim: int | None = None):
        super().__init__()
        self.regularizer = regularizer
        self.static_dim = static_dim

    def build(self, sizes: ModelSizes) -> None:
        self.static_dim = checked_static_dim(self.static_dim, sizes)

    def forward(self, step: WindowStep) -> TermValue:
        latents = without_episode_means(step.latents, step.episodes)
        dynamic = latents[..., : latents.shape[-1] - (self.static_dim or 0)].flatten(0, 1)
        value = self.regularizer(dynamic, dynamic, step.number)
        return TermValue(value.loss, self.named_parts(value.parts))


def checked_static_dim(static_dim: int | None, sizes: ModelSizes) -> int:
    """The encoder's where None. Raises ValueError where a latent has fewer features."""
    if static_dim is None:
        return sizes.static_dim
    if not 0 <= static_dim < sizes.embed_dim:
        raise ValueError(
            f"static_dim ({static_dim}) must be from 0 to below the encoder's embed_dim ({sizes.embed_dim})"
        )
    return static_dim


def without_episode_means(
    latents: Float[Tensor, "B T N D"],
    episodes: Int64[Tensor, " B"],  # equal numbers are windows of one episode
) -> Float[Tensor, "B T N D"]:
    """Latents minus their mean over all frames of the same episode in the batch."""
    numbers, episode = torch.unique(episodes, return_inverse=True)
    sums = latents.new_zeros(len(numbers), *latents.shape[2:]).index_add(0, episode, latents.mean(1))
    counts = torch.bincount(episode, minlength=len(numbers)).view(-1, *(1,) * (latents.ndim - 2))
    return latents - (sums / counts)[episode].unsqueeze(1)
