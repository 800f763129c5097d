"""The norm of the gradient, before any clipping, as `health/gradient_norm`."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.distributed.tensor import DTensor

from vjepa.monitoring.log_now import log_now


class GradientNorm(Callback):
    """L2 norm over all trainable parameters, every `every_n_steps` steps."""

    def __init__(self, every_n_steps: int = 25):
        self.every_n_steps = every_n_steps

    def on_before_optimizer_step(
        self, trainer: Trainer, module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if trainer.global_step % self.every_n_steps:
            return
        gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
        log_now(trainer, module, {"health/gradient_norm": float(whole)})
