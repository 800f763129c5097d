"""Several hypotheses: where the future is open, one mean prediction resembles none of the futures, each hypothesis one.

The best hypothesis of each clip learns (multiple choice learning, Guzman-Rivera et al. 2012), which `LatentPrediction`
does, since it reads the best one. `HypothesisUsage` keeps the others from being forgotten.
"""

from typing import final

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from vjepa.grid import gather_tokens
from vjepa.models import Predictor, VideoEncoder
from vjepa.objectives.latent_prediction import token_distances
from vjepa.objectives.term import ClipStep, ClipTerm, TermValue


def hypothesis_errors(
    hypotheses: Float[Tensor, "K B Nt D"], target: Float[Tensor, "B Nt D"]
) -> Float32[Tensor, "B K"]:  # mean absolute error over a clip's hidden tokens
    return token_distances(hypotheses, target.expand_as(hypotheses)).mean((2, 3)).T


def best_hypotheses(
    hypotheses: Float[Tensor, "K B Nt D"], target: Float[Tensor, "B Nt D"]
) -> Int64[Tensor, " B"]:  # the one that is nearest to the target
    return hypothesis_errors(hypotheses.detach(), target).argmin(1)


@final
class HypothesisUsage(ClipTerm):
    """All hypotheses learn a little (Rupprecht et al., arXiv 1612.00197), and a batch uses them equally.

    Args:
        others_weight: of the mean error of all hypotheses, so that one that is never the best follows the others.
        usage_weight: of log(K) minus the entropy of how often a batch uses each hypothesis.
        temperature: hypotheses share a clip by the softmax of their errors over this.
    """

    def __init__(self, others_weight: float = 0.05, usage_weight: float = 0.1, temperature: float = 0.02):
        super().__init__()
        for name, value in (("others_weight", others_weight), ("usage_weight", usage_weight)):
            if value < 0:
                raise ValueError(f"{name} ({value}) must be at least 0")
        if temperature <= 0:
            raise ValueError(f"temperature ({temperature}) must be more than 0")
        self.others_weight = others_weight
        self.usage_weight = usage_weight
        self.temperature = temperature

    def check_networks(self, encoder: VideoEncoder, predictor: Predictor | None) -> None:
        super().check_networks(encoder, predictor)
        if predictor is not None and predictor.num_hypotheses == 1:
            raise ValueError(f"the term '{self.name}' needs --model.predictor.num_hypotheses of 2 or more; it is 1")

    def forward(self, step: ClipStep) -> TermValue:
        assert step.targets is not None  # there is a predictor
        errors = torch.stack(
            [
                hypothesis_errors(hypotheses, gather_tokens(step.targets, mask.target_ids))
                for hypotheses, mask in zip(step.hypotheses, step.masks, strict=True)
            ]
        )  # (masks, B, K)
        shares = (-errors / self.temperature).softmax(2).mean((0, 1))
        unused = (shares * (shares * len(shares)).clamp_min(1e-12).log()).sum()  # log K - entropy
        loss = self.others_weight * errors.mean() + self.usage_weight * unused
        used = torch.zeros_like(shares).scatter_add_(
            0, errors.argmin(2).flatten(), errors.new_ones(errors[..., 0].numel())
        )
        return TermValue(loss, self.named_parts({"error_of_all": errors.mean(), "most_used": used.max() / used.sum()}))
