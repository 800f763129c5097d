"""Heads that predict verb, noun and action of what follows a clip."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from vjepa.evaluation.accelerator import autocast
from vjepa.evaluation.anticipation.class_mean_recall import ClassMeanRecall
from vjepa.evaluation.probes.sweep import Sweep, SweptHeads
from vjepa.objectives.sigmoid_focal import sigmoid_focal_loss


class TokenBatch(NamedTuple):
    tokens: Float32[Tensor, "B N D"]
    labels: Int64[Tensor, "B tasks"]


class AnticipationProbe(SweptHeads):
    """Attentive heads with a query for each task.

    Args:
        sweep: heads and how they are trained.
        width: of the tokens.
        num_classes: of each task; the classes that heads can predict.
        num_steps: steps in all.
    """

    def __init__(self, sweep: Sweep, width: int, num_classes: list[int], num_steps: int):
        if "linear" in sweep.heads:
            raise ValueError("a linear head has no queries for verb, noun and action; give sweep.heads=[attentive_4]")
        super().__init__(sweep, num_steps, lambda kind: sweep.attentive_head(kind, width, num_classes))
        self.num_classes = num_classes

    def training_step(self, batch: TokenBatch, batch_idx: int) -> Tensor:
        losses = [
            sigmoid_focal_loss(scores.float(), batch.labels[:, task])
            for head in self.heads
            for task, scores in enumerate(head(batch.tokens))
        ]
        return torch.stack(losses).sum()

    @torch.no_grad()
    def recalls(
        self,
        source: Iterable[TokenBatch],
        all_classes: list[int],  # of each task, those that no head can predict included
        chosen: list[int] | None = None,  # numbers of heads; all if None
    ) -> list[list[float]]:  # class-mean recall@5 of each head and task
        self.eval()
        heads = self.chosen_heads(chosen)
        metrics = [
            [ClassMeanRecall(*counts).to(self.device) for counts in zip(self.num_classes, all_classes, strict=True)]
            for _ in heads
        ]
        for batch in source:
            tokens, labels = batch.tokens.to(self.device), batch.labels.to(self.device)
            for head, metrics_of_head in zip(heads, metrics, strict=True):
                with autocast(self.device, self.sweep.precision):
                    scores = head(tokens)
                for task, metric in enumerate(metrics_of_head):
                    metric.update(scores[task], labels[:, task])
        return [[float(metric.compute()) for metric in metrics_of_head] for metrics_of_head in metrics]
