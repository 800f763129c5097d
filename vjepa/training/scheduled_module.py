"""ScheduledModule: logging, AdamW along schedules and the moving average, which all models share in training."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.strategies import ParallelStrategy
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch import Tensor, nn

from vjepa.interop.loading import require_same_weights
from vjepa.objectives import Step
from vjepa.training.schedule import Schedule


class ScheduledModule(LightningModule):
    """Subclasses implement `step` and `trained_parts`, and `update_target` where a moving average follows.

    Weights are trained in float32: in half precision the steps of a moving average would round to nothing.

    Args:
        learning_rate, weight_decay: of AdamW, over optimizer steps.
        betas, eps: of AdamW.
    """

    momentum: Schedule  # of the moving average, where there is one
    replayed_step: int | None = None  # of a step that is run again alone, without a trainer
    num_micro_batches = 1  # of a rank's batch, computed one after the other; set by `Efficiency`

    def __init__(self, learning_rate: Schedule, weight_decay: Schedule, betas: tuple[float, float], eps: float):
        super().__init__()
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.betas = betas
        self.eps = eps

    def step(self, batch: Any) -> Step:
        """The forward pass and the losses of a batch."""
        raise NotImplementedError

    @property
    def step_number(self) -> int:
        """Optimizer steps before this one: what is random in a step's losses depends on it."""
        return self.global_step if self.replayed_step is None else self.replayed_step

    def trained_parts(self) -> Sequence[nn.Module]:
        raise NotImplementedError

    def update_target(self, step: int, run_steps: int) -> dict[str, float]:
        """Move the target networks after optimizer step `step` (from 1); returns what to log."""
        return {}

    def flops_of(self, batch: Any) -> int | None:
        """Floating-point operations of the networks in a step on this batch, from its shapes; None where no formula
        is known."""
        return None

    def ema_momentum(self, step: int, run_steps: int) -> float:
        """Momentum after optimizer step `step` (from 1): the schedule's first value after the first, `end` after the
        last."""
        return self.momentum.value(step - 1, run_steps - 1)

    def on_fit_start(self) -> None:
        """Raise ValueError where weights are in half precision."""
        for name, parameter in self.named_parameters():
            if parameter.dtype in (torch.float16, torch.bfloat16):
                raise ValueError(f"{name} is {parameter.dtype}, must be float32; give --trainer.precision=bf16-mixed")

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raise ValueError where weights, or the optimizer's state of a run that goes on, are not of this model."""
        if self._trainer is None:
            return
        path = str(self._trainer.ckpt_path)
        require_same_weights(self.state_dict(), checkpoint["state_dict"], path)
        if self._trainer.state.fn != "fit":
            return
        if not checkpoint.get("optimizer_states"):
            raise ValueError(
                f"{path} holds weights without the optimizer's state, so that no run goes on from it; "
                f"--model.initial_weights starts a new run with them"
            )
        ours, theirs = (
            [len(group["params"]) for group in groups]
            for groups in (
                parameter_groups(*self.trained_parts()),
                checkpoint["optimizer_states"][0]["param_groups"],
            )
        )
        if ours != theirs:
            raise ValueError(
                f"the optimizer in {path} trains {sum(theirs)} tensors ({theirs[0]} with weight decay), this run's "
                f"{sum(ours)} ({ours[0]}); freeze the same parts as in that run"
            )

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """The loss, and the step without gradients for callbacks (`outputs["step"]`)."""
        if self.num_micro_batches > 1:
            return self.accumulated_step(batch)
        return self.log_step("train", self.step(batch), len(batch[0]))

    def accumulated_step(self, batch: Any) -> dict[str, Any]:
        """`training_step` by micro-batches: the mean of their gradients and losses, and the first one's step.

        Lightning accumulates over batches, so that a batch would no longer be the global one. Of the last micro-batch
        it takes the gradient.
        """
        parts, strategy = batch.parts(self.num_micro_batches), self.trainer.strategy
        self.trainer.optimizers[0].zero_grad()
        losses, first = [], None
        for number, part in enumerate(parts):
            step = self.step(part)
            loss = step.losses["loss"] / len(parts)
            losses.append(torch.stack(list(step.losses.values())).detach())
            first = first or step.detached()
            if number < len(parts) - 1:
                with strategy.block_backward_sync() if isinstance(strategy, ParallelStrategy) else nullcontext():
                    strategy.backward(loss, None)
        assert first is not None
        first.losses = dict(zip(first.losses, torch.stack(losses).mean(dim=0), strict=True))
        return {**self.log_step("train", first, len(batch[0])), "loss": loss}

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        if self.num_micro_batches == 1:  # of several, all but the last have given their gradients by now
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log_step("val", self.step(batch), len(batch[0]))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log_step("test", self.step(batch), len(batch[0]))

    def log_step(self, stage: str, step: Step, batch_size: int) -> dict[str, Any]:
        """Log the losses as one rank would have them on the global batch."""
        means = mean_over_ranks(torch.stack(list(step.losses.values())).detach())
        values = {f"{stage}/{name}": mean for name, mean in zip(step.losses, means, strict=True)}
        training = stage == "train"
        self.log_dict(values, on_step=training, on_epoch=not training, batch_size=batch_size)
        return {"loss": step.losses["loss"], "step": step.detached()}

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: torch.optim.Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """One step with this step's learning rate and weight decay, then the moving average follows."""
        step, run_steps, learning_rate = self.scheduled_step()
        values = self.set_schedules(optimizer, step, run_steps, learning_rate)
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        values |= self.update_target(step, run_steps)
        # As tensors of the host: Lightning copies a number to the device, and waits for it.
        self.log_dict({name: torch.tensor(value) for name, value in values.items()})

    def scheduled_step(self) -> tuple[int, int, Schedule]:
        """The optimizer step to come (from 1), the steps of the schedules, and the schedule of the learning rate."""
        return self.global_step + 1, run_steps_of(self.trainer), self.learning_rate

    def set_schedules(
        self,
        optimizer: torch.optim.Optimizer | LightningOptimizer,
        step: int,
        run_steps: int,
        learning_rate: Schedule,
    ) -> dict[str, float]:
        """Give the optimizer the values of this step; returns what to log."""
        rate, decay = learning_rate.value(step, run_steps), self.weight_decay.value(step, run_steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
            group["weight_decay"] = decay if group["decays"] else 0.0
        return {"schedule/learning_rate": rate, "schedule/weight_decay": decay}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # A fused optimizer unscales gradients of 16-mixed by itself, after they would be clipped.
        fused = not (self.trainer.gradient_clip_val and str(self.trainer.precision) == "16-mixed")
        groups = parameter_groups(*self.trained_parts())
        first = self.learning_rate.value(1, run_steps_of(self.trainer))
        return torch.optim.AdamW(groups, lr=first, betas=self.betas, eps=self.eps, fused=fused)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """As Lightning does, which refuses fused optimizers under bf16-mixed too, where no gradient is scaled."""
        plugin = self.trainer.precision_plugin
        if not gradient_clip_val or not isinstance(plugin, MixedPrecision) or plugin.scaler is not None:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        algorithm = GradClipAlgorithmType(gradient_clip_algorithm or "norm")
        Precision.clip_gradients(plugin, optimizer, gradient_clip_val, algorithm)


def run_steps_of(trainer: Trainer) -> int:
    """Optimizer steps of the whole run. Raises ValueError where it has no end for schedules to reach, or not one."""
    steps = trainer.estimated_stepping_batches
    if steps == float("inf"):
        raise ValueError("the run has no end for its schedules to reach; give --trainer.max_steps or max_epochs")
    if (trainer.min_steps or 0) > steps:
        raise ValueError(f"min_steps ({trainer.min_steps}) must be at most the steps of the run ({int(steps)})")
    return int(steps)


def parameter_groups(*modules: nn.Module) -> list[dict[str, Any]]:
    """Two optimizer groups over the trainable parameters of `modules`, the first with `decays` set.

    The released rule (V-JEPA 1, 2, 2.1): no decay where the name has "bias" in it or the tensor has one dimension.
    """
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for module in modules:
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                groups[parameter.ndim > 1 and "bias" not in name].append(parameter)
    return [{"params": parameters, "decays": decays, "weight_decay": 0.0} for decays, parameters in groups.items()]


def mean_over_ranks(values: Tensor) -> Tensor:
    """In one collective and without waiting for it: Lightning's `sync_dist` has a barrier for each value."""
    if not torch.distributed.is_initialized():
        return values
    torch.distributed.all_reduce(values)
    return values / torch.distributed.get_world_size()
