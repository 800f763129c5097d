"""Writes `checkpoints/last.ckpt` in the run's folder, keeps those before it, and permanent ones of some steps."""

import math
import os
import shlex
import shutil
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.environments import SLURMEnvironment  # type: ignore[attr-defined]

from vjepa.monitoring.card.origin import ORIGIN, described, origin_of_run
from vjepa.monitoring.interruption import SIGNALS, Interrupted, handle_signals, requeue_job, say
from vjepa.training.checkpoint import AsynchronousCheckpointIO


class RunCheckpoint(Checkpoint):
    """Overwrites `last.ckpt` every `every_n_steps` steps and at the end; `keep_every_n_steps` adds `step_N.ckpt`.

    The one before stays as `previous_1.ckpt`: a run goes on from the newest that is whole.

    Files are replaced atomically (`vjepa.training.checkpoint.AtomicCheckpointIO`). Where the loss is not finite, a
    ValueError ends the run before a checkpoint is written. After SIGINT, SIGTERM or SIGUSR1 to any rank all ranks save
    at the end of the step and raise `Interrupted`; a second SIGINT ends at once. In a job of SLURM, SIGUSR1 (or the
    `requeue_signal` of its environment) also requeues the job, unless the environment says `auto_requeue=False`.

    Args:
        every_n_steps: optimizer steps from one `last.ckpt` to the next.
        keep_every_n_steps: optimizer steps from one kept checkpoint to the next; none is kept if None.
        every_n_minutes: also so long after the last one, at the end of a step; never if None.
        keep_previous: checkpoints before the last that are kept, `previous_1.ckpt` the newest.
        asynchronous: write them in a thread of their own, from a copy in main memory.
    """

    def __init__(
        self,
        every_n_steps: int = 200,
        keep_every_n_steps: int | None = None,
        every_n_minutes: float | None = None,
        keep_previous: int = 1,
        asynchronous: bool = False,
    ):
        if every_n_steps < 1 or (keep_every_n_steps is not None and keep_every_n_steps < 1):
            raise ValueError(
                f"every_n_steps ({every_n_steps}) and keep_every_n_steps ({keep_every_n_steps}) must be at least 1"
            )
        if keep_previous < 0 or (every_n_minutes is not None and not every_n_minutes > 0):
            raise ValueError(
                f"keep_previous ({keep_previous}) must be at least 0, "
                f"and every_n_minutes ({every_n_minutes}) more than 0"
            )
        self.every_n_steps = every_n_steps
        self.keep_every_n_steps = keep_every_n_steps
        self.every_n_minutes = every_n_minutes
        self.keep_previous = keep_previous
        self.asynchronous = asynchronous  # read where the trainer is made
        self._saved = time.monotonic()
        self._first_step = self._saved_step = self._seen_step = 0
        self._signal = 0  # the first that was received
        self._signalled = 0.0  # when
        self._stops_by = 0  # the signal that all ranks know of
        self._requeues_at = 0  # the signal that also requeues the job

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        self.folder = Path(trainer.log_dir or trainer.default_root_dir) / "checkpoints"

    @property
    def last(self) -> Path:
        return self.folder / "last.ckpt"

    def on_save_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[ORIGIN] = origin_of_run(Path(trainer.default_root_dir))

    def on_load_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Say where the checkpoint comes from, and what has changed since."""
        written = checkpoint.get(ORIGIN)
        if trainer.state.fn == "fit" and written is not None:
            say(f"goes on from step {checkpoint['global_step']}, {described(written)}")
            for name, digest in origin_of_run(Path(trainer.default_root_dir))["data"].items():
                if digest != written["data"].get(name, digest):
                    say(f"data have changed since this checkpoint was written: {name}")

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._first_step = self._saved_step = self._seen_step = trainer.global_step
        environment = trainer._accelerator_connector.cluster_environment
        if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
            self._requeues_at = int(environment.requeue_signal or 0)
        # In place of Lightning's, which end a run without a checkpoint, or save one in the middle of a step.
        handle_signals(self._on_signal, *{*SIGNALS, *filter(None, [self._requeues_at])})

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step == self._seen_step:  # no optimizer step since: gradients are being accumulated
            return
        self._seen_step = step
        if self.keep_every_n_steps and step % self.keep_every_n_steps == 0:
            self._save(trainer, self.folder / f"step_{step}.ckpt")
        if step % self.every_n_steps == 0 or self._is_due(trainer):
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
            if number == self._requeues_at:
                requeue_job()
            raise Interrupted(number)
        say(f"{name}: saves a checkpoint when this step has ended; Ctrl-C (again) ends at once")

    def _save_if_signalled(self, trainer: Trainer) -> None:
        self._stops_by = _maximum_over_ranks(self._signal, trainer)
        if self._stops_by and trainer.global_step != self._saved_step:
            self._save_last(trainer)

    def _stop_if_saved(self, trainer: Trainer) -> None:
        if not self._stops_by:
            return
        if isinstance(writer := trainer.strategy.checkpoint_io, AsynchronousCheckpointIO):
            writer.wait()
        trainer.strategy.barrier()  # a launcher ends the others when the first rank has ended
        if trainer.is_global_zero:
            settings, last = (shlex.quote(str(path)) for path in (self.folder.parent / "config.yaml", self.last))
            name = signal.Signals(self._stops_by).name
            print(f"\nStopped by {name} at step {trainer.global_step}: {self.last}")
            print(f"Go on with:\n  vjepa fit -c {settings} --ckpt_path {last}", flush=True)
        if self._stops_by == self._requeues_at:
            requeue_job()
        raise Interrupted(self._stops_by)

    def _is_due(self, trainer: Trainer) -> bool:
        """By the clock of the rank whose time is up first."""
        if self.every_n_minutes is None:
            return False
        return bool(_maximum_over_ranks(int(time.monotonic() - self._saved >= 60 * self.every_n_minutes), trainer))

    def _save_last(self, trainer: Trainer) -> None:
        before = self.folder / ".before.ckpt.tmp"
        keeps = self.keep_previous > 0 and trainer.is_global_zero and self.last.exists()
        if keeps:
            before.unlink(missing_ok=True)
            _link(self.last, before)
        try:
            self._save(trainer, self.last)
        except BaseException:
            before.unlink(missing_ok=True)
            raise
        self._saved_step, self._saved = trainer.global_step, time.monotonic()
        if keeps:
            for number in range(self.keep_previous, 1, -1):
                if (newer := self._previous(number - 1)).exists():
                    newer.replace(self._previous(number))
            before.replace(self._previous(1))

    def _previous(self, number: int) -> Path:
        return self.folder / f"previous_{number}.ckpt"

    def _save(self, trainer: Trainer, path: Path) -> None:
        loss = float(trainer.callback_metrics.get("train/loss", 0.0))
        skipped = any(getattr(each, "skips_this_step", False) for each in getattr(trainer, "callbacks", []))
        if not math.isfinite(loss) and not skipped:  # a step that was skipped has changed no weight
            raise ValueError(
                f"the loss is {loss} at step {trainer.global_step}, so nothing was saved over {self.last}; "
                f"go on from there with a lower learning rate or gradient clipping"
            )
        trainer.save_checkpoint(path, weights_only=False)  # with the optimizer


def _link(file: Path, name: Path) -> None:
    """The same file by a second name, or a copy where the file system has no links."""
    try:
        os.link(file, name)
    except OSError:
        shutil.copy2(file, name)


def _num_ranks() -> int:
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def _maximum_over_ranks(value: int, trainer: Trainer) -> int:
    if _num_ranks() == 1:
        return value
    maximum = torch.tensor(value, device=trainer.strategy.root_device)
    torch.distributed.all_reduce(maximum, torch.distributed.ReduceOp.MAX)
    return int(maximum)
