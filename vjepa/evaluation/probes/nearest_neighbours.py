"""Classification by nearest neighbours among frozen features, without training (votes as in DINO, arXiv 2104.14294)."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from vjepa.evaluation.probes.probe import FeatureBatch
from vjepa.evaluation.probes.scores import Trial, accuracy

TEMPERATURE = 0.07
NEIGHBOURS = (1, 3, 5, 10, 20)


def neighbours_trial(
    bank: Iterable[FeatureBatch], val: Iterable[FeatureBatch], test: Iterable[FeatureBatch], num_classes: int
) -> Trial:
    """Votes on the test files, with the number of neighbours that is best on the validation files."""
    (known, labels), (val_features, val_labels), (test_features, test_labels) = map(pooled_features, (bank, val, test))
    count = best_num_neighbours(known, labels, val_features, val_labels, num_classes)
    on_val, on_test = (
        neighbour_votes(known, labels, queries, count, num_classes) for queries in (val_features, test_features)
    )
    return Trial("kNN", f"{count} neighbours", accuracy(on_val, val_labels), on_test.cpu(), test_labels.cpu())


def pooled_features(source: Iterable[FeatureBatch]) -> tuple[Tensor, Tensor]:  # (R, P) means over views, labels (R,)
    pooled, labels = zip(*((batch.pooled.mean(1), batch.labels) for batch in source), strict=True)
    return torch.cat(pooled), torch.cat(labels)


def neighbour_votes(
    bank: Float[Tensor, "M P"],  # features with known classes
    labels: Int64[Tensor, " M"],
    queries: Float[Tensor, "R P"],
    num_neighbours: int,
    num_classes: int,
    block: int = 1024,  # number of queries at once
) -> Float[Tensor, "R classes"]:
    """Votes of the nearest features by cosine, each exp(cosine / 0.07). Features are centred on the bank's mean."""
    centre = bank.mean(0)
    bank = F.normalize(bank - centre, dim=1)
    votes = torch.zeros(len(queries), num_classes, device=queries.device)
    for start in range(0, len(queries), block):
        cosines = F.normalize(queries[start : start + block] - centre, dim=1) @ bank.T
        nearest, indices = cosines.topk(min(num_neighbours, len(bank)), dim=1)
        votes[start : start + block].scatter_add_(1, labels[indices], (nearest / TEMPERATURE).exp())
    return votes


def best_num_neighbours(
    bank: Float[Tensor, "M P"],
    labels: Int64[Tensor, " M"],
    queries: Float[Tensor, "R P"],  # of the validation split
    query_labels: Int64[Tensor, " R"],
    num_classes: int,
) -> int:
    """The number of neighbours with the best accuracy on the queries; the fewest among equals."""

    def right(count: int) -> int:
        return int((neighbour_votes(bank, labels, queries, count, num_classes).argmax(1) == query_labels).sum())

    return max(NEIGHBOURS, key=right)
