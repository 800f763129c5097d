"""Writes `checkpoints/last.ckpt` in the run's folder, and permanent checkpoints of some steps."""

import math
import shlex
import signal
import time
from pathlib import Path
from types import FrameType

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from vjepa.monitoring.interruption import Interrupted, handle_signals, say


class RunCheckpoint(Checkpoint):
    """Overwrites `last.ckpt` every `every_n_steps` steps and at the end; `keep_every_n_steps` adds `step_N.ckpt`.

    Files are replaced atomically (`vjepa.training.checkpoint.AtomicCheckpointIO`). Where the loss is not finite, a
    ValueError ends the run before a checkpoint is written. After SIGINT or SIGTERM to any rank all ranks save at the
    end of the step and raise `Interrupted`; a second SIGINT ends at once.

    Args:
        every_n_steps: optimizer steps from one `last.ckpt` to the next.
        keep_every_n_steps: optimizer steps from one kept checkpoint to the next; none is kept if None.
    """

    def __init__(self, every_n_steps: int = 200, keep_every_n_steps: int | None = None):
        if every_n_steps < 1 or (keep_every_n_steps is not None and keep_every_n_steps < 1):
            raise ValueError(
                f"every_n_steps ({every_n_steps}) and keep_every_n_steps ({keep_every_n_steps}) must be at least 1"
            )
        self.every_n_steps = every_n_steps
        self.keep_every_n_steps = keep_every_n_steps
        self._first_step = self._saved_step = self._seen_step = 0
        self._signal = 0  # the first that was received
        self._signalled = 0.0  # when
        self._stops_by = 0  # the signal that all ranks know of

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        self.folder = Path(trainer.log_dir or trainer.default_root_dir) / "checkpoints"

    @property
    def last(self) -> Path:
        return self.folder / "last.ckpt"

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._first_step = self._saved_step = self._seen_step = trainer.global_step
        handle_signals(self._on_signal)  # in place of Lightning's, which end a run without a checkpoint

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step == self._seen_step:  # no optimizer step since: gradients are being accumulated
            return
        self._seen_step = step
        if self.keep_every_n_steps and step % self.keep_every_n_steps == 0:
            self._save(trainer, self.folder / f"step_{step}.ckpt")
        if step % self.every_n_steps == 0:
            self._save_last(trainer)
        self._save_if_signalled(trainer)

    # A step's values are logged after the hook above, so that the run ends in the next one.
    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: object, batch_idx: int) -> None:
        self._stop_if_saved(trainer)

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._stop_if_saved(trainer)

    def on_validation_batch_end(self, trainer: Trainer, *others: object) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._save_if_signalled(trainer)
            self._stop_if_saved(trainer)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.global_step != self._saved_step:
            self._save_last(trainer)
        self._save_if_signalled(trainer)
        self._stop_if_saved(trainer)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        name, ranks = signal.Signals(number).name, _num_ranks()
        if self._signal:
            # torchrun hands on a Ctrl-C that its processes have received already.
            if number == signal.SIGINT and (ranks == 1 or time.monotonic() > self._signalled + 1):
                say("stopped at once by a second Ctrl-C")
                raise Interrupted(number)
            return
        self._signal, self._signalled = number, time.monotonic()
        if ranks == 1 and self._seen_step == self._first_step:
            say(f"stopped by {name}; there is nothing to save")
            raise Interrupted(number)
        say(f"{name}: saves a checkpoint when this step has ended; Ctrl-C (again) ends at once")

    def _save_if_signalled(self, trainer: Trainer) -> None:
        self._stops_by = _maximum_over_ranks(self._signal, trainer)
        if self._stops_by and trainer.global_step != self._saved_step:
            self._save_last(trainer)

    def _stop_if_saved(self, trainer: Trainer) -> None:
        if not self._stops_by:
            return
        if trainer.is_global_zero:
            settings, last = (shlex.quote(str(path)) for path in (self.folder.parent / "config.yaml", self.last))
            name = signal.Signals(self._stops_by).name
            print(f"\nStopped by {name} at step {trainer.global_step}: {self.last}")
            print(f"Go on with:\n  vjepa fit -c {settings} --ckpt_path {last}", flush=True)
        raise Interrupted(self._stops_by)

    def _save_last(self, trainer: Trainer) -> None:
        self._save(trainer, self.last)
        self._saved_step = trainer.global_step

    def _save(self, trainer: Trainer, path: Path) -> None:
        loss = float(trainer.callback_metrics.get("train/loss", 0.0))
        if not math.isfinite(loss):
            raise ValueError(
                f"the loss is {loss} at step {trainer.global_step}, so nothing was saved over {self.last}; "
                f"go on from there with a lower learning rate or gradient clipping"
            )
        trainer.save_checkpoint(path, weights_only=False)  # with the optimizer


def _num_ranks() -> int:
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def _maximum_over_ranks(value: int, trainer: Trainer) -> int:
    if _num_ranks() == 1:
        return value
    maximum = torch.tensor(value, device=trainer.strategy.root_device)
    torch.distributed.all_reduce(maximum, torch.distributed.ReduceOp.MAX)
    return int(maximum)
