"""The focal loss of many rare classes (Lin et al. 2017, arXiv 1708.02002, eq. 5), one yes or no for each class."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor


def sigmoid_focal_loss(
    scores: Float[Tensor, "B classes"],  # before the sigmoid
    labels: Int64[Tensor, " B"],
    alpha: float = 0.25,  # weight of the right class; the others have 1 - alpha
    gamma: float = 2.0,  # how much less counts what is told well already
) -> Tensor:
    """Summed over classes and clips, as the released anticipation probes have it."""
    right = F.one_hot(labels, scores.shape[1]).bool()
    signed = torch.where(right, scores, -scores)  # the larger, the better told
    weight = torch.where(right, alpha, 1 - alpha) * torch.sigmoid(-signed) ** gamma
    return -(weight * F.logsigmoid(signed)).sum()
