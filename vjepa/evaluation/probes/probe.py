"""Probes: small heads on frozen features, many learning rates and weight decays at once, the best chosen on validation.

The protocol of V-JEPA 2 (arXiv 2506.09985, section 4), but for the choice: the released code reports the best of its
heads on the test clips; here they are chosen on validation clips, and only the chosen one is scored on the test clips.
A probe is handed features, not clips: no gradient can reach the encoder, and nothing can change it.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from vjepa.models import AttentiveProbe


class FeatureBatch(NamedTuple):
    """Features of files. Segments of one view are one behind the other in its sequence of tokens."""

    tokens: Tensor  # (B, views, N, D) float32
    pooled: Tensor  # (B, views, P) float32
    labels: Tensor  # (B,) int64


HeadKind = Literal["linear", "attentive", "attentive_4"]
Precision = Literal["32-true", "16-mixed", "bf16-mixed"]
DEPTHS: dict[HeadKind, int] = {"attentive": 1, "attentive_4": 4}


@dataclass(frozen=True)
class Sweep:
    """What heads are trained with.

    Args:
        heads: linear on pooled tokens, or attentive with 1 or 4 blocks.
        learning_rates, weight_decays: a head for each pair of them.
        num_epochs: passes over the labelled clips.
        min_steps: steps at least, where few clips are labelled.
        batch_size: files per step.
        num_heads: of the attention; the widest number up to this that divides the width is taken.
        warmup: share of the steps in which the learning rate rises from 0; then it falls to 0 as a cosine.
        accumulate_batches: a step's files come in so many batches, one after the other; saves memory.
        activation_checkpointing: compute the attentive heads' blocks again in the backward pass; saves memory.
        precision: of the heads and, where clips are encoded anew, of the encoder; as Lightning names it.
    """

    heads: tuple[HeadKind, ...] = ("linear", "attentive")
    learning_rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3, 3e-3)
    weight_decays: tuple[float, ...] = (0.01, 0.1)
    num_epochs: int = 20
    min_steps: int = 300
    batch_size: int = 64
    num_heads: int = 16
    warmup: float = 0.0
    accumulate_batches: int = 1
    activation_checkpointing: bool = False
    precision: Precision = "32-true"

    def __post_init__(self) -> None:
        if self.accumulate_batches < 1 or self.batch_size % self.accumulate_batches:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of accumulate_batches ({self.accumulate_batches})"
            )

    @property
    def files_at_once(self) -> int:
        return self.batch_size // self.accumulate_batches

    def num_steps(self, num_files: int) -> int:
        return max(self.min_steps, self.num_epochs * math.ceil(num_files / self.batch_size))


class LinearHead(nn.Module):
    """A linear layer on pooled features, each brought to zero mean and unit variance (as in MAE, arXiv 2111.06377)."""

    def __init__(self, width: int, num_classes: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(width, affine=False)
        self.linear = nn.Linear(width, num_classes)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(
        self,
        pooled: Tensor,  # (B, P)
    ) -> Tensor:  # (B, classes)
        if self.training and len(pooled) == 1:  # the last file of a pass has no variance of its own
            norm = self.norm
            return self.linear(F.batch_norm(pooled, norm.running_mean, norm.running_var, eps=norm.eps))
        return self.linear(self.norm(pooled))


class Candidate(NamedTuple):
    """One head of a sweep."""

    kind: HeadKind
    learning_rate: float
    weight_decay: float


class Probe(LightningModule):
    """All heads of a sweep, trained side by side on the same batches.

    Args:
        sweep: which heads, and how they are trained.
        width: of the tokens.
        pooled_width: of the pooled features.
        num_classes: classes.
        num_steps: steps in all: learning rates end with them.
    """

    def __init__(self, sweep: Sweep, width: int, pooled_width: int, num_classes: int, num_steps: int):
        super().__init__()
        self.sweep = sweep
        self.num_steps = num_steps
        self.candidates = [
            Candidate(kind, learning_rate, weight_decay)
            for kind in sweep.heads
            for learning_rate in sweep.learning_rates
            for weight_decay in sweep.weight_decays
        ]
        num_heads = widest_divisor(width, sweep.num_heads)
        self.heads = nn.ModuleList(
            LinearHead(pooled_width, num_classes)
            if candidate.kind == "linear"
            else AttentiveProbe(
                width,
                [num_classes],
                DEPTHS[candidate.kind],
                num_heads,
                activation_checkpointing=sweep.activation_checkpointing,
            )
            for candidate in self.candidates
        )

    def forward(
        self,
        batch: FeatureBatch,
        chosen: list[int] | None = None,  # numbers of heads; all if None
    ) -> list[Tensor]:  # (B * views, classes) of each head
        tokens, pooled = batch.tokens.flatten(0, 1), batch.pooled.flatten(0, 1)
        heads = self.heads if chosen is None else [self.heads[number] for number in chosen]
        return [head(pooled) if isinstance(head, LinearHead) else head(tokens)[0] for head in heads]

    def training_step(self, batch: FeatureBatch, batch_idx: int) -> Tensor:
        labels = batch.labels.repeat_interleave(batch.tokens.shape[1])
        # The heads share no weight: the gradient of the sum is each head's own.
        return torch.stack([F.cross_entropy(scores.float(), labels) for scores in self(batch)]).sum()

    @torch.no_grad()
    def guesses(
        self, source: Iterable[FeatureBatch], chosen: list[int] | None = None
    ) -> tuple[list[Tensor], Tensor]:  # probabilities (R, classes) of each head, labels (R,)
        """Mean probabilities over the views of each file, by all heads or only by those."""
        self.eval()
        of_heads: list[list[Tensor]] = [[] for _ in (self.heads if chosen is None else chosen)]
        labels = []
        for batch in source:
            batch = FeatureBatch(*(tensor.to(self.device) for tensor in batch))
            num_views = batch.tokens.shape[1]
            with autocast(self.device, self.sweep.precision):
                scores = self(batch, chosen)
            for kept, of_head in zip(of_heads, scores, strict=True):
                kept.append(of_head.float().softmax(dim=1).unflatten(0, (-1, num_views)).mean(1).cpu())
            labels.append(batch.labels.cpu())
        return [torch.cat(parts) for parts in of_heads], torch.cat(labels)

    def configure_optimizers(self):
        return optimizers_of(self.heads, self.candidates, self.sweep.warmup, self.num_steps)


class Trial(NamedTuple):
    """The winner of a kind of head."""

    candidate: Candidate
    val_accuracy: float
    guesses: Tensor  # (R, classes) on the test clips
    labels: Tensor  # (R,)


def train_probe(
    probe: Probe,
    train: Iterable[FeatureBatch],  # as many batches as steps need, or more
    val: Iterable[FeatureBatch],
    test: Iterable[FeatureBatch],
    accelerator: str = "auto",
) -> dict[HeadKind, Trial]:
    """Train all heads, choose one of each kind by validation accuracy (then by loss), score the chosen on test."""
    probe_trainer(probe.sweep, probe.num_steps, accelerator).fit(probe, train)
    return choose_heads(probe, val, test)


def probe_trainer(sweep: Sweep, num_steps: int, accelerator: str) -> Trainer:
    """A trainer on one device that writes and shows nothing."""
    return Trainer(
        max_steps=num_steps,
        max_epochs=-1,
        accelerator=accelerator,
        devices=1,
        precision=sweep.precision,
        accumulate_grad_batches=sweep.accumulate_batches,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
    )


def choose_heads(probe: Probe, val: Iterable[FeatureBatch], test: Iterable[FeatureBatch]) -> dict[HeadKind, Trial]:
    """One trained head of each kind, by validation accuracy (then by loss), and its guesses on test."""
    guesses, labels = probe.guesses(val)
    best: dict[HeadKind, int] = {}
    quality = [(float((g.argmax(1) == labels).float().mean()), -float(negative_log(g, labels))) for g in guesses]
    for number, candidate in enumerate(probe.candidates):
        if candidate.kind not in best or quality[number] > quality[best[candidate.kind]]:
            best[candidate.kind] = number
    test_guesses, test_labels = probe.guesses(test, list(best.values()))
    return {
        kind: Trial(probe.candidates[number], quality[number][0], of_test, test_labels)
        for (kind, number), of_test in zip(best.items(), test_guesses, strict=True)
    }


def optimizers_of(heads: Iterable[nn.Module], candidates: list[Candidate], warmup: float, num_steps: int):
    """One AdamW over all heads, each with its own learning rate and weight decay, and their schedule, for Lightning."""
    groups = [
        {"params": head.parameters(), "lr": candidate.learning_rate, "weight_decay": candidate.weight_decay}
        for head, candidate in zip(heads, candidates, strict=True)
    ]
    optimizer = torch.optim.AdamW(groups, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share_of_rate(warmup, num_steps))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def share_of_rate(warmup: float, num_steps: int) -> Callable[[int], float]:
    """The share of the learning rate at a step, from 0: it rises for a share of the steps, then falls as a cosine."""
    rising = warmup * num_steps

    def share(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, num_steps - rising)))

    return share


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """What Lightning trains in at this precision, for what it does not run."""
    dtype = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}.get(precision)
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


def negative_log(guesses: Tensor, labels: Tensor) -> Tensor:
    """Mean negative logarithm of the right class's probability."""
    return F.nll_loss(guesses.clamp_min(1e-12).log(), labels)


def widest_divisor(width: int, largest: int) -> int:
    """The largest number of attention heads up to `largest` that divides a width."""
    return next(count for count in range(min(largest, width), 0, -1) if width % count == 0)
