"""What training steps of several models share: AdamW that follows the run's schedules, and losses logged over ranks."""

from collections.abc import Sequence

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from vjepa.training.parameter_groups import parameter_groups
from vjepa.training.schedule import Schedule


def run_steps_of(trainer: Trainer) -> int:
    """Optimizer steps of the whole run: the schedules end with it. Raises ValueError where the run has no end."""
    steps = trainer.estimated_stepping_batches
    if steps == float("inf"):
        raise ValueError("the run has no end for its schedules to reach; give --trainer.max_steps or max_epochs")
    return int(steps)


def scheduled_adamw(
    parts: Sequence[nn.Module],
    trainer: Trainer,
    learning_rate: Schedule,
    betas: tuple[float, float],
    eps: float,
) -> torch.optim.AdamW:
    """AdamW over what is trainable in `parts`, with the first step's learning rate."""
    first = learning_rate.value(1, run_steps_of(trainer))
    # Lightning 2.6 refuses to clip gradients of a fused optimizer under mixed precision.
    fused = not (trainer.gradient_clip_val and "mixed" in str(trainer.precision))
    return torch.optim.AdamW(parameter_groups(*parts), lr=first, betas=betas, eps=eps, fused=fused)


def follow_schedules(
    optimizer: torch.optim.Optimizer | LightningOptimizer,
    step: int,  # from 1
    run_steps: int,
    learning_rate: Schedule,
    weight_decay: Schedule,
) -> dict[str, float]:  # what was set, as it is logged
    """Give the optimizer the values of this step."""
    rate, decay = learning_rate.value(step, run_steps), weight_decay.value(step, run_steps)
    for group in optimizer.param_groups:
        group["lr"] = rate
        group["weight_decay"] = decay if group["decays"] else 0.0
    return {"schedule/learning_rate": rate, "schedule/weight_decay": decay}


def log_means(module: LightningModule, stage: str, losses: dict[str, Tensor], batch_size: int) -> Tensor:
    """The loss; it and its parts are logged as one rank would see them on the global batch."""
    means = mean_over_ranks(torch.stack(list(losses.values())).detach())
    values = {f"{stage}/{name}": mean for name, mean in zip(losses, means, strict=True)}
    training = stage == "train"
    module.log_dict(values, on_step=training, on_epoch=not training, batch_size=batch_size)
    return losses["loss"]


def mean_over_ranks(values: Tensor) -> Tensor:
    """In one collective and without waiting for it: Lightning's `sync_dist` has a barrier for each value."""
    if not torch.distributed.is_initialized():
        return values
    torch.distributed.all_reduce(values)
    return values / torch.distributed.get_world_size()
