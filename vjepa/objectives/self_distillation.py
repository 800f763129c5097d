"""Self-distillation: views of one image must look like the same prototypes to an encoder and to its moving average.

DINO's loss (Caron et al. 2021, arXiv 2104.14294, eq. 1 and 4). Two ways of collapse hold each other in check: targets
are centred, so that no prototype is everybody's, and sharpened, so that they are not all equally likely.
"""

from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa.objectives.global_batch import averaged


class SelfDistillationTerms(NamedTuple):
    """Each (); entropies in shares of that of equally likely prototypes."""

    cross_entropy: Tensor  # of pairs of views, mean
    target_entropy: Tensor  # of an image's targets, mean: 1 where all prototypes are equally likely
    spread: Tensor  # entropy of the mean target of the batch: 0 where one prototype is everybody's


@final
class SelfDistillation(nn.Module):
    """Cross-entropy between what the target encoder says of a large view and the context encoder of any other.

    Args:
        num_prototypes: the head's.
        temperature: what the context encoder's similarities are divided by.
        target_temperature: the same for targets at the end of `warmup_steps`, and from then on.
        first_target_temperature, warmup_steps: it rises linearly from this (published: from 0.04 to 0.07 in 30 epochs);
            the same throughout if None.
        centre_momentum: of the mean similarities that are taken off the targets'.
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
                f"temperatures must be above 0, and targets sharper than what they are compared with: "
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
        similarities: Tensor,  # (V, B, K) of all views, the large ones first
        of_targets: Tensor,  # (G, B, K) of the large views, by the target encoder
        step: int,
    ) -> SelfDistillationTerms:
        """Raises ValueError where a large view has no other view to be compared with."""
        num_views, num_large = len(similarities), len(of_targets)
        if num_views < 2:
            raise ValueError(f"self-distillation compares views, and {num_views} is none too many; give at least 2")
        targets = self.targets(of_targets, step)
        log_guesses = F.log_softmax(similarities.float() / self.temperature, dim=-1)
        of_pairs = -torch.einsum("gbk,vbk->gv", targets, log_guesses) / similarities.shape[1]  # (G, V)
        itself = torch.eye(num_large, num_views, dtype=torch.bool, device=of_pairs.device)
        with torch.no_grad():
            whole = torch.log(torch.tensor(float(targets.shape[-1]), device=targets.device))
            mean = averaged(targets.mean((0, 1)))
            target_entropy, spread = _entropy(targets).mean() / whole, _entropy(mean) / whole
        return SelfDistillationTerms(of_pairs[~itself].mean(), target_entropy, spread)

    def targets(
        self,
        similarities: Tensor,  # (G, B, K)
        step: int,
    ) -> Tensor:  # (G, B, K) probabilities, without gradient
        share = min(1.0, step / self.warmup_steps) if self.warmup_steps else 1.0
        temperature = self.first_target_temperature + share * (self.target_temperature - self.first_target_temperature)
        return F.softmax((similarities.detach().float() - self.centre) / temperature, dim=-1)

    @torch.no_grad()
    def move_centre(
        self,
        similarities: Tensor,  # (G, B, K) of this rank, by the target encoder
    ) -> None:
        """Towards the mean over the global batch."""
        self.centre.lerp_(averaged(similarities.float().mean((0, 1))), 1 - self.centre_momentum)


def _entropy(
    probabilities: Tensor,  # (..., K)
) -> Tensor:  # (...)
    return -torch.xlogy(probabilities, probabilities).sum(-1)
