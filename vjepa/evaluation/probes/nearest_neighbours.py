"""Classes by nearest neighbours among frozen features: nothing is trained (votes as in DINO, arXiv 2104.14294)."""

import torch
import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 0.07
NEIGHBOURS = (1, 3, 5, 10, 20)


def neighbour_votes(
    bank: Tensor,  # (M, P) features with known classes
    labels: Tensor,  # (M,) int64
    queries: Tensor,  # (R, P)
    num_neighbours: int,
    num_classes: int,
    block: int = 1024,  # queries at once
) -> Tensor:  # (R, classes)
    """Votes of the nearest by cosine, weighted by exp(cosine / 0.07). Features are centred on the bank's mean."""
    centre = bank.mean(0)
    bank = F.normalize(bank - centre, dim=1)
    votes = torch.zeros(len(queries), num_classes, device=queries.device)
    for start in range(0, len(queries), block):
        cosines = F.normalize(queries[start : start + block] - centre, dim=1) @ bank.T
        nearest, places = cosines.topk(min(num_neighbours, len(bank)), dim=1)
        votes[start : start + block].scatter_add_(1, labels[places], (nearest / TEMPERATURE).exp())
    return votes


def best_num_neighbours(
    bank: Tensor,  # (M, P)
    labels: Tensor,  # (M,)
    queries: Tensor,  # (R, P) of the validation split
    query_labels: Tensor,  # (R,)
    num_classes: int,
) -> int:
    """How many neighbours guess the validation clips best; the fewest among equals."""
    right = [
        int((neighbour_votes(bank, labels, queries, count, num_classes).argmax(1) == query_labels).sum())
        for count in NEIGHBOURS
    ]
    return NEIGHBOURS[right.index(max(right))]
