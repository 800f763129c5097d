"""Heads on frozen features, one for each pair of a learning rate and a weight decay, trained on the same batches."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn

from vjepa.evaluation.accelerator import Precision
from vjepa.models import AttentiveProbe
from vjepa.models.layers import Checkpointing
from vjepa.training.schedule import cosine_decay

HeadKind = Literal["linear", "attentive", "attentive_4"]
DEPTHS: dict[HeadKind, int] = {"attentive": 1, "attentive_4": 4}


class Candidate(NamedTuple):
    """One head of a sweep."""

    kind: HeadKind
    learning_rate: float
    weight_decay: float

    @property
    def settings(self) -> str:
        return f"learning rate {self.learning_rate:g}, weight decay {self.weight_decay:g}"


@dataclass(frozen=True)
class Sweep:
    """Heads and how they are trained.

    Args:
        heads: linear on pooled tokens, or attentive with 1 or 4 blocks.
        learning_rates: a head for each pair of these and the weight decays.
        weight_decays: the same.
        num_epochs: passes over the labelled clips.
        min_steps: least number of steps, where few clips are labelled.
        batch_size: files per step.
        num_heads: of the attention; the largest number up to this that divides the width is taken.
        warmup: fraction of the steps in which the learning rate rises from 0; then it falls to 0 as a cosine.
        accumulate_batches: batches that a step's files come in, one after the other; saves memory.
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
    activation_checkpointing: Checkpointing = False
    precision: Precision = "32-true"

    def __post_init__(self) -> None:
        if self.accumulate_batches < 1 or self.batch_size % self.accumulate_batches:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of accumulate_batches ({self.accumulate_batches})"
            )

    @property
    def files_at_once(self) -> int:
        return self.batch_size // self.accumulate_batches

    @property
    def candidates(self) -> list[Candidate]:
        return [Candidate(*each) for each in product(self.heads, self.learning_rates, self.weight_decays)]

    def num_steps(self, num_files: int) -> int:
        return max(self.min_steps, self.num_epochs * math.ceil(num_files / self.batch_size))

    def attentive_head(self, kind: HeadKind, width: int, num_classes: list[int]) -> AttentiveProbe:
        num_heads = widest_divisor(width, self.num_heads)
        return AttentiveProbe(
            width, num_classes, DEPTHS[kind], num_heads, activation_checkpointing=self.activation_checkpointing
        )

    def trainer(self, num_steps: int, accelerator: str) -> Trainer:
        """A trainer on one device that writes and shows nothing."""
        return Trainer(
            max_steps=num_steps,
            max_epochs=-1,
            accelerator=accelerator,
            devices=1,
            precision=self.precision,
            accumulate_grad_batches=self.accumulate_batches,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
        )


class SweptHeads(LightningModule):
    """All heads of a sweep. They share no weight, so the gradient of the summed losses is each head's own.

    Args:
        sweep: heads and how they are trained.
        num_steps: steps in all: learning rates end with them.
        new_head: makes a head of a kind.
    """

    def __init__(self, sweep: Sweep, num_steps: int, new_head: Callable[[HeadKind], nn.Module]):
        super().__init__()
        self.sweep = sweep
        self.num_steps = num_steps
        self.candidates = sweep.candidates
        self.heads = nn.ModuleList(new_head(candidate.kind) for candidate in self.candidates)

    def chosen_heads(self, chosen: list[int] | None) -> list[nn.Module]:
        """The heads of these numbers; all if None."""
        return [self.heads[number] for number in (range(len(self.heads)) if chosen is None else chosen)]

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        """One AdamW over all heads, each with its own learning rate and weight decay."""
        groups = [
            {"params": head.parameters(), "lr": candidate.learning_rate, "weight_decay": candidate.weight_decay}
            for head, candidate in zip(self.heads, self.candidates, strict=True)
        ]
        optimizer = torch.optim.AdamW(groups, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.learning_rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def learning_rate_factor(self, step: int) -> float:
        """Linear warmup, then a cosine to 0. Steps count from 0."""
        warmup = self.sweep.warmup * self.num_steps
        if step < warmup:
            return (step + 1) / warmup
        return cosine_decay(step - warmup, max(1, self.num_steps - warmup))


def widest_divisor(width: int, largest: int) -> int:
    """The largest number of attention heads up to `largest` that divides a width."""
    return next(count for count in range(min(largest, width), 0, -1) if width % count == 0)
