"""ClipModel: what models of clips share in training, whatever they learn."""

from collections.abc import Sequence

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from vjepa.data.clips.batch import ClipBatch
from vjepa.training.optimization import follow_schedules, log_means, run_steps_of, scheduled_adamw
from vjepa.training.schedule import Schedule


class ClipModel(LightningModule):
    """Logged losses, AdamW by schedules, and what follows a step. A model says its `losses` and `trained_parts`."""

    def __init__(self, learning_rate: Schedule, weight_decay: Schedule, betas: tuple[float, float], eps: float):
        super().__init__()
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.betas = betas
        self.eps = eps

    def losses(self, batch: ClipBatch) -> dict[str, Tensor]:
        """Each (); "loss" is minimised, the others are looked at."""
        raise NotImplementedError

    def trained_parts(self) -> Sequence[nn.Module]:
        raise NotImplementedError

    def follow(self, step: int, run_steps: int) -> dict[str, float]:
        """Move what follows the trained parts after optimizer step `step` (from 1) of the run; what is logged of it."""
        return {}

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        return log_means(self, "train", self.losses(batch), len(batch.clips))

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        return log_means(self, "val", self.losses(batch), len(batch.clips))

    def test_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        return log_means(self, "test", self.losses(batch), len(batch.clips))

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer | LightningOptimizer, optimizer_closure=None
    ) -> None:
        """One step with this step's learning rate and weight decay, then what follows it."""
        step, run_steps = self.global_step + 1, run_steps_of(self.trainer)
        values = follow_schedules(optimizer, step, run_steps, self.learning_rate, self.weight_decay)
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.log_dict(values | self.follow(step, run_steps))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return scheduled_adamw(self.trained_parts(), self.trainer, self.learning_rate, self.betas, self.eps)
