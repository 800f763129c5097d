"""Skips steps that would spoil a run: gradients that are not finite, and spikes."""

import math
from collections import deque
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor

from vjepa.interop.loading import read_checkpoint
from vjepa.monitoring.guard.kept_step import Batch, keep_step
from vjepa.monitoring.health.collapse_watch_actions import require_whole_weights, scaled_schedule
from vjepa.monitoring.log_now import log_now
from vjepa.monitoring.run_checkpoint import RunCheckpoint
from vjepa.training.checkpoint import checkpoints_of, newest_whole
from vjepa.training.scheduled_module import ScheduledModule

Then = Literal["stop", "lower", "rewind"]
ROBUST = 1.4826  # standard deviations of a normal distribution per median absolute deviation


class StepGuard(Callback):
    """Leaves weights and optimizer as they are where a step's gradient is not finite, or is a spike.

    Clips and schedules go on, and so does the moving average. Every rank decides by the same norm. The step is kept in
    `skipped/step_N` of the run's folder, and `vjepa replay` runs it again alone. Reading the norm lets the device wait
    for the host once in a step. In 16-mixed, gradients that are not finite are left to the scaling of the loss.

    Args:
        enabled: false reads nothing.
        deviations: a norm so many robust standard deviations above the median of recent steps is a spike; none is if
            None. 20 skips what no healthy run here had.
        window: recent steps; no spike is seen before half of them.
        most_in_a_row: bad steps, after which `then` follows.
        then: "stop" the run with an error; "lower" the learning rate; or "rewind" to the newest whole checkpoint, and
            lower it. Clips go on.
        learning_rate_factor: of "lower" and "rewind", for the rest of the schedule.
        most_times: the run stops when it is bad again after so many times of `then`.
        keep: the first so many bad steps are kept on disk.
    """

    def __init__(
        self,
        enabled: bool = True,
        deviations: float | None = None,
        window: int = 100,
        most_in_a_row: int = 10,
        then: Then = "stop",
        learning_rate_factor: float = 0.5,
        most_times: int = 3,
        keep: int = 3,
    ):
        if then not in get_args(Then):
            raise ValueError(f"then '{then}' must be one of {', '.join(get_args(Then))}")
        if (
            window < 4
            or most_in_a_row < 1
            or keep < 0
            or most_times < 0
            or (deviations is not None and deviations <= 0)
        ):
            raise ValueError(
                f"window ({window}) must be at least 4, most_in_a_row ({most_in_a_row}) at least 1, deviations "
                f"({deviations}) more than 0, keep ({keep}) and most_times ({most_times}) at least 0"
            )
        if not 0 < learning_rate_factor < 1:
            raise ValueError(f"learning_rate_factor ({learning_rate_factor}) must lie between 0 and 1")
        self.enabled = enabled
        self.deviations = deviations
        self.most_in_a_row = most_in_a_row
        self.then = then
        self.learning_rate_factor = learning_rate_factor
        self.most_times = most_times
        self.keep = keep
        self.skipped = self.in_a_row = self.times = 0
        self.skips_this_step = False
        self._norms: deque[float] = deque(maxlen=window)
        self._batches: list[Batch] = []
        self._losses: list[Tensor] = []

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("skipped", "in_a_row", "times")} | {"norms": list(self._norms)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._norms.extend(state_dict["norms"])
        for name in ("skipped", "in_a_row", "times"):
            setattr(self, name, state_dict[name])

    def summary(self) -> dict[str, str]:
        return {"skipped steps": str(self.skipped)} if self.skipped else {}

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        if stage == "fit" and self.enabled and self.then == "rewind":
            require_whole_weights(trainer)

    def on_train_start(self, trainer: Trainer, module: ScheduledModule) -> None:
        if self.times:  # in the part of the run that is gone on with
            self._lower_learning_rate(module, self.times)

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Batch, batch_idx: int) -> None:
        self.skips_this_step = False
        if self.enabled:
            self._batches.append(batch)

    def on_before_backward(self, trainer: Trainer, module: LightningModule, loss: Tensor) -> None:
        if self.enabled:
            self._losses.append(loss.detach())  # of an accumulated step its part

    def on_before_optimizer_step(
        self, trainer: Trainer, module: ScheduledModule, optimizer: torch.optim.Optimizer
    ) -> None:
        batches, losses = self._batches, self._losses
        self._batches, self._losses = [], []
        plugin = trainer.precision_plugin
        if not self.enabled or (isinstance(plugin, MixedPrecision) and plugin.scaler is not None):
            return
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        norm = torch.nn.utils.get_total_norm([each.grad for each in parameters if each.grad is not None])
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # of shards
        number = float(norm)
        reason = self._fault(number)
        if reason is None:
            self._norms.append(number)
            self.in_a_row = 0
            return
        for parameter in parameters:  # the optimizer leaves a weight without a gradient as it is
            parameter.grad = None
        self.skips_this_step = True
        self.skipped += 1
        self.in_a_row += 1
        self._report(trainer, module, batches, float(torch.stack(losses).sum()), number, reason)
        if self.in_a_row >= self.most_in_a_row:
            self._act(trainer, module, reason)

    def _fault(self, norm: float) -> str | None:
        if not math.isfinite(norm):
            return f"the gradient's norm is {norm}"
        maxlen = self._norms.maxlen or 0
        if self.deviations is None or len(self._norms) < maxlen // 2:
            return None
        recent = np.array(self._norms)
        median = float(np.median(recent))
        spread = ROBUST * float(np.median(np.abs(recent - median)))
        if norm <= median + self.deviations * max(spread, 1e-3 * median):
            return None
        return f"the gradient's norm is {norm:.3g}, of the {len(recent)} steps before {median:.3g} ± {spread:.2g}"

    def _report(
        self, trainer: Trainer, module: ScheduledModule, batches: list[Batch], loss: float, norm: float, reason: str
    ) -> None:
        """All ranks together: say it, and keep the step."""
        step, folder = trainer.global_step, Path(trainer.default_root_dir) / "skipped" / f"step_{trainer.global_step}"
        losses = _of_all_ranks(loss, trainer)
        kept = ""
        if self.skipped <= self.keep and not getattr(module, "in_dynamics_phase", False):
            facts = {"step": step, "reason": reason, "loss": loss, "gradient_norm": norm}
            keep_step(folder, trainer, module, batches, facts | {"num_ranks": trainer.world_size})
            kept = f"; `vjepa replay {folder}` runs it again"
        if trainer.is_global_zero:
            bad = [str(rank) for rank, each in enumerate(losses) if not math.isfinite(each)]
            where = f" (the loss of rank {', '.join(bad)} is not finite)" if bad and len(losses) > 1 else ""
            print(f"\nstep {step} was skipped: {reason}{where}{kept}", flush=True)
        log_now(trainer, module, {"health/skipped_steps": float(self.skipped)})

    def _act(self, trainer: Trainer, module: ScheduledModule, reason: str) -> None:
        words = f"{self.in_a_row} steps in a row were skipped, the last at step {trainer.global_step} ({reason})"
        if self.then == "stop" or self.times >= self.most_times:
            after = f" after the learning rate was lowered {self.times} times" if self.times else ""
            raise ValueError(
                f"{words}{after}; the weights are those before them. Look at one with `vjepa replay`, and go on with a "
                f"lower learning rate, --trainer.gradient_clip_val=1.0, or --guard.then=rewind"
            )
        back = ""
        if self.then == "rewind":
            back = f"back to {self._rewind(trainer, module)}, "
        self.times += 1
        self.in_a_row = 0
        self._norms.clear()
        self._lower_learning_rate(module, 1)
        if trainer.is_global_zero:
            print(f"{words}: {back}at {self.learning_rate_factor:g} of the learning rate", flush=True)

    def _rewind(self, trainer: Trainer, module: ScheduledModule) -> Path:
        """Weights and optimizer of the newest whole checkpoint, on every rank."""
        folders = [each.folder for each in trainer.checkpoint_callbacks if isinstance(each, RunCheckpoint)]
        file = newest_whole(checkpoints_of(folders[0])) if folders else None
        if file is None:
            raise ValueError("there is no whole checkpoint to go back to yet; give --guard.then=lower or stop")
        content = read_checkpoint(file)
        module.on_load_checkpoint(content)
        module.load_state_dict(content["state_dict"])
        trainer.optimizers[0].load_state_dict(content["optimizer_states"][0])
        return file

    def _lower_learning_rate(self, module: ScheduledModule, times: int) -> None:
        module.learning_rate = scaled_schedule(module.learning_rate, self.learning_rate_factor**times)


def _of_all_ranks(value: float, trainer: Trainer) -> list[float]:
    if trainer.world_size == 1:
        return [value]
    parts = torch.zeros(trainer.world_size, device=trainer.strategy.root_device)
    parts[trainer.global_rank] = value
    torch.distributed.all_reduce(parts)
    return [float(each) for each in parts]
