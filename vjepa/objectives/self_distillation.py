"""Self-distillation: views of one image must have the same prototypes for an encoder and its moving average.

DINO's loss (Caron et al. 2021, arXiv 2104.14294, eq. 1 and 4). Targets are centred, against collapse to one prototype,
and sharpened, against collapse to equally likely prototypes.
"""

from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vjepa.objectives.global_batch import averaged


class SelfDistillationTerms(NamedTuple):
    """The loss and two entropies, as fractions of that of equally likely prototypes."""

    cross_entropy: Float[Tensor, ""]  # mean over pairs of views
    target_entropy: Float[Tensor, ""]  # of an image's targets, mean: 1 where all prototypes are equally likely
    spread: Float[Tensor, ""]  # of the batch's mean target: 0 where all images have one prototype


@final
class SelfDistillation(nn.Module):
    """Cross-entropy between the target encoder's large views and the context encoder's other views.

    Args:
        num_prototypes: the head's.
        temperature: of the context encoder's similarities.
        target_temperature: of the targets' after `warmup_steps`.
        first_target_temperature, warmup_steps: the targets' temperature rises linearly from this (published: from 0.04
            to 0.07 in 30 epochs); constant if None.
        centre_momentum: of the mean similarities that are subtracted from the targets'.
    """

    centre: Tensor

    def __init__(
        self,
        num_prototypes: int,
        temperature: float = 0.1,
        target_temperature: float = 0.04,
        first_target_temperature: float | None = None,
        warmup_steps: int = 0,
        centre_momentum: float = 0.9,
    ):
        super().__init__()
        if first_target_temperature is None:
            first_target_temperature = target_temperature
        if not 0 < min(first_target_temperature, target_temperature) <= target_temperature < temperature:
            raise ValueError(
                f"temperatures must be above 0, and those of targets below that of the context encoder: "
                f"{first_target_temperature} and {target_temperature} must be below {temperature}"
            )
        if not 0 <= centre_momentum <= 1:
            raise ValueError(f"centre_momentum ({centre_momentum}) must be from 0 to 1")
        self.temperature = temperature
        self.target_temperature = target_temperature
        self.first_target_temperature = first_target_temperature
        self.warmup_steps = warmup_steps
        self.centre_momentum = centre_momentum
        self.register_buffer("centre", torch.zeros(num_prototypes))

    def forward(
        self,
        similarities: Float[Tensor, "V B K"],  # of all views, the large ones first
        target_similarities: Float[Tensor, "G B K"],  # of the large views, by the target encoder
        step: int,
    ) -> SelfDistillationTerms:
        """Raises ValueError where a large view has no other view to be compared with."""
        num_views, num_large = len(similarities), len(target_similarities)
        if num_views < 2:
            raise ValueError(f"self-distillation compares views, and there is {num_views}; give at least 2")
        targets = self.targets(target_similarities, step)
        log_guesses = F.log_softmax(similarities.float() / self.temperature, dim=-1)
        pairs = -torch.einsum("gbk,vbk->gv", targets, log_guesses) / similarities.shape[1]  # (G, V)
        itself = torch.eye(num_large, num_views, dtype=torch.bool, device=pairs.device)
        with torch.no_grad():
            whole = torch.log(torch.tensor(float(targets.shape[-1]), device=targets.device))
            mean = averaged(targets.mean((0, 1)))
            target_entropy, spread = _entropy(targets).mean() / whole, _entropy(mean) / whole
        return SelfDistillationTerms(pairs[~itself].mean(), target_entropy, spread)

    def targets(self, similarities: Float[Tensor, "G B K"], step: int) -> Float[Tensor, "G B K"]:
        """Probabilities without gradient."""
        warm = min(1.0, step / self.warmup_steps) if self.warmup_steps else 1.0
        temperature = self.first_target_temperature + warm * (self.target_temperature - self.first_target_temperature)
        return F.softmax((similarities.detach().float() - self.centre) / temperature, dim=-1)

    @torch.no_grad()
    def move_centre(self, similarities: Float[Tensor, "G B K"]) -> None:
        """Move the centre towards the mean over the global batch of the target encoder's similarities."""
        self.centre.lerp_(averaged(similarities.float().mean((0, 1))), 1 - self.centre_momentum)


def _entropy(probabilities: Float[Tensor, "... K"]) -> Float[Tensor, "..."]:
    return -torch.xlogy(probabilities, probabilities).sum(-1)
