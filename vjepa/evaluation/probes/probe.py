"""Probes: small heads on frozen features, many learning rates and weight decays at once, the best chosen on validation.

The protocol of V-JEPA 2 (arXiv 2506.09985, section 4), but for the choice: the released code reports the best of its
heads on the test clips; here they are chosen on validation clips, and only the chosen one is scored on the test clips.
A probe is handed features, not clips: no gradient can reach the encoder, and nothing can change it.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from vjepa.evaluation.accelerator import autocast
from vjepa.evaluation.probes.scores import Trial, accuracy
from vjepa.evaluation.probes.sweep import HeadKind, Sweep, SweptHeads


class FeatureBatch(NamedTuple):
    """Features of files. The segments of a view are concatenated to one sequence of tokens."""

    tokens: Float32[Tensor, "B views N D"]
    pooled: Float32[Tensor, "B views P"]
    labels: Int64[Tensor, " B"]

    def moved(self, device: torch.device) -> "FeatureBatch":
        return FeatureBatch(*(tensor.to(device) for tensor in self))


class LinearHead(nn.Module):
    """A linear layer on pooled features, each brought to zero mean and unit variance (as in MAE, arXiv 2111.06377)."""

    def __init__(self, width: int, num_classes: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(width, affine=False)
        self.linear = nn.Linear(width, num_classes)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, pooled: Float[Tensor, "B P"]) -> Float[Tensor, "B classes"]:
        if self.training and len(pooled) == 1:  # the last file of a pass has no variance of its own
            norm = self.norm
            return self.linear(F.batch_norm(pooled, norm.running_mean, norm.running_var, eps=norm.eps))
        return self.linear(self.norm(pooled))


class Probe(SweptHeads):
    """Classifies files by their features.

    Args:
        sweep: heads and how they are trained.
        width: of the tokens.
        pooled_width: of the pooled features.
        num_classes: number of classes.
        num_steps: steps in all.
    """

    def __init__(self, sweep: Sweep, width: int, pooled_width: int, num_classes: int, num_steps: int):
        def new_head(kind: HeadKind) -> nn.Module:
            if kind == "linear":
                return LinearHead(pooled_width, num_classes)
            return sweep.attentive_head(kind, width, [num_classes])

        super().__init__(sweep, num_steps, new_head)

    def forward(
        self,
        batch: FeatureBatch,
        chosen: list[int] | None = None,  # numbers of heads; all if None
    ) -> list[Tensor]:  # (B * views, classes) of each head
        tokens, pooled = batch.tokens.flatten(0, 1), batch.pooled.flatten(0, 1)
        return [head(pooled) if isinstance(head, LinearHead) else head(tokens)[0] for head in self.chosen_heads(chosen)]

    def training_step(self, batch: FeatureBatch, batch_idx: int) -> Tensor:
        labels = batch.labels.repeat_interleave(batch.tokens.shape[1])
        return torch.stack([F.cross_entropy(scores.float(), labels) for scores in self(batch)]).sum()

    @torch.no_grad()
    def guesses(
        self, source: Iterable[FeatureBatch], chosen: list[int] | None = None
    ) -> tuple[list[Tensor], Tensor]:  # probabilities (R, classes) of each head, labels (R,)
        """Mean probabilities over the views of each file, by all heads or only by those."""
        self.eval()
        probabilities: list[list[Tensor]] = [[] for _ in self.chosen_heads(chosen)]
        labels = []
        for batch in source:
            batch = batch.moved(self.device)
            num_views = batch.tokens.shape[1]
            with autocast(self.device, self.sweep.precision):
                scores = self(batch, chosen)
            for parts, each in zip(probabilities, scores, strict=True):
                parts.append(each.float().softmax(dim=1).unflatten(0, (-1, num_views)).mean(1).cpu())
            labels.append(batch.labels.cpu())
        return [torch.cat(parts) for parts in probabilities], torch.cat(labels)


def train_probe(
    probe: Probe,
    train: Iterable[FeatureBatch],  # at least as many batches as there are steps
    val: Iterable[FeatureBatch],
    test: Iterable[FeatureBatch],
    accelerator: str = "auto",
) -> dict[HeadKind, Trial]:
    """Train all heads, choose one of each kind by validation accuracy (then by loss), apply the chosen to test."""
    probe.sweep.trainer(probe.num_steps, accelerator).fit(probe, train)
    return choose_heads(probe, val, test)


def choose_heads(probe: Probe, val: Iterable[FeatureBatch], test: Iterable[FeatureBatch]) -> dict[HeadKind, Trial]:
    """One trained head of each kind, by validation accuracy (then by loss), and its guesses on test."""
    guesses, labels = probe.guesses(val)
    quality = [(accuracy(each, labels), -float(negative_log(each, labels))) for each in guesses]
    best: dict[HeadKind, int] = {}
    for number, candidate in enumerate(probe.candidates):
        if candidate.kind not in best or quality[number] > quality[best[candidate.kind]]:
            best[candidate.kind] = number
    test_guesses, test_labels = probe.guesses(test, list(best.values()))
    return {
        kind: Trial(kind, probe.candidates[number].settings, quality[number][0], each, test_labels)
        for (kind, number), each in zip(best.items(), test_guesses, strict=True)
    }


def negative_log(guesses: Tensor, labels: Tensor) -> Tensor:
    """Mean negative logarithm of the right class's probability."""
    return F.nll_loss(guesses.clamp_min(1e-12).log(), labels)
