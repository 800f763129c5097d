"""Terms on paths of latents: neighbouring frames are close, and paths are straight."""

from typing import final

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vjepa.objectives.term import TermValue
from vjepa.objectives.world.step import WindowStep, WindowTerm


@final
class TimeSimilarity(WindowTerm):
    """Mean squared difference between latents of neighbouring frames (PLDM, arXiv 2502.14819)."""

    def value(self, step: WindowStep) -> Float[Tensor, ""]:
        return time_similarity(step.latents)


@final
class Straightening(WindowTerm):
    """Curvature of paths (arXiv 2603.12231). Windows of two frames have none."""

    def forward(self, step: WindowStep) -> TermValue:
        if step.latents.shape[1] < 3:
            return TermValue(step.latents.new_zeros(()), {})
        return super().forward(step)

    def value(self, step: WindowStep) -> Float[Tensor, ""]:
        return straightening(step.latents)


def time_similarity(latents: Float[Tensor, "B T N D"]) -> Float[Tensor, ""]:
    return (latents[:, 1:] - latents[:, :-1]).square().mean()


def straightening(latents: Float[Tensor, "B T N D"]) -> Float[Tensor, ""]:
    """1 - the cosine between each change and the next, which has no gradient.

    0 on straight paths, 1 on random paths, 2 on paths that turn back.
    """
    changes = (latents[:, 1:] - latents[:, :-1]).flatten(2)
    return (1 - F.cosine_similarity(changes[:, :-1], changes[:, 1:].detach(), dim=-1, eps=1e-6)).mean()
