"""Latent prediction: how far predicted embeddings are from the target encoder's (V-JEPA, arXiv 2404.08471, eq. 1)."""

from typing import Literal, final, get_args

import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from vjepa.objectives.term import ClipStep, ClipTerm, TermValue, mean_over_masks

Distance = Literal["power", "smooth_l1", "cosine"]


@final
class LatentPrediction(ClipTerm):
    """Mean distance of hidden tokens to their predictions, averaged over masks.

    Args:
        exponent: p of the mean of |error|^p / p; 1 in every released recipe.
        distance: "power" by `exponent`, "smooth_l1" or "cosine".
    """

    averages_clips = True

    def __init__(self, exponent: float = 1.0, distance: Distance = "power"):
        super().__init__()
        if distance not in get_args(Distance):
            raise ValueError(f"distance '{distance}' must be one of {', '.join(get_args(Distance))}")
        self.exponent = exponent
        self.distance: Distance = distance

    def forward(self, step: ClipStep) -> TermValue:
        return mean_over_masks(step, lambda predicted, target: self.token_losses(predicted, target).mean())

    def token_losses(
        self, predicted: Float[Tensor, "B K D"], target: Float[Tensor, "B K D"]
    ) -> Float32[Tensor, "B K _"]:  # by feature, or one number for a token compared as a whole
        return token_distances(predicted, target, self.exponent, self.distance)


def normalized_targets(tokens: Float[Tensor, "B N levels_D"], num_levels: int = 1) -> Float32[Tensor, "B N levels_D"]:
    """Target tokens, each level layer-normed without weights, so that their scale says nothing."""
    levels = tokens.float().unflatten(-1, (num_levels, -1))
    return F.layer_norm(levels, levels.shape[-1:]).flatten(-2)


def latent_prediction_loss(
    predicted: Float[Tensor, "*batch D"],
    target: Float[Tensor, "*batch D"],
    exponent: float = 1.0,
    distance: Distance = "power",
) -> Float32[Tensor, ""]:
    """Mean distance; in every released recipe that of |predicted - target|."""
    return token_distances(predicted, target, exponent, distance).mean()


def token_distances(
    predicted: Float[Tensor, "*batch D"],
    target: Float[Tensor, "*batch D"],
    exponent: float = 1.0,
    distance: Distance = "power",
) -> Float32[Tensor, "*batch _"]:  # by feature, or one number for a token compared as a whole
    """Distance of each predicted token to its target.

    "power": |error|^p / p with p the exponent, so L1 by 1 and half of the squared error by 2. "smooth_l1": half of the
    squared error up to 1, |error| - 0.5 from there. "cosine": 1 - cosine, from 0 to 2, blind to lengths.
    """
    predicted, target = predicted.float(), target.float()
    if distance == "power":
        return (predicted - target).abs().pow(exponent) / exponent
    if distance == "smooth_l1":
        return F.smooth_l1_loss(predicted, target, reduction="none")
    if distance == "cosine":
        return 1 - F.cosine_similarity(predicted, target, dim=-1).unsqueeze(-1)
    raise ValueError(f"distance '{distance}' must be one of {', '.join(get_args(Distance))}")
