"""Progress of a run: a bar on a terminal, plain lines in a log file."""

import sys
import time
from datetime import timedelta

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from vjepa.monitoring.health.collapse_watch import Verdict

SHOWN = {
    "train/loss": "loss {:.4f}",
    "speed/clips_per_second": "{:.0f} clips/s",
    "speed/mfu": "MFU {:.0%}",
    "speed/data_wait": "data wait {:.0%}",
    "speed/peak_memory": "{:.1f} GiB",
    "health/context_rank": "context rank {:.0f}",
    "health/target_rank": "target rank {:.0f}",
    "health/view_rank": "view rank {:.0f}",
}


class RunProgress(ProgressBar):
    """Step, loss, clips per second, fraction of time waiting for data, effective rank, verdict on health.

    A bar on a terminal; elsewhere (log files, SLURM) a plain line every `seconds_between_lines`.

    Args:
        seconds_between_lines: where there is no terminal.
    """

    def __init__(self, seconds_between_lines: float = 10.0):
        super().__init__()
        self.seconds_between_lines = seconds_between_lines
        self._bar: Progress | None = None
        self._is_enabled = True

    def disable(self) -> None:  # Lightning calls it on all ranks but the first
        self._is_enabled = False

    def enable(self) -> None:
        self._is_enabled = True

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._started = self._last_shown = time.monotonic()
        self._first_step = trainer.global_step
        if self._is_enabled and sys.stdout.isatty():
            self._bar = Progress(
                TextColumn("step {task.completed}/{task.total}"),
                BarColumn(bar_width=12),
                TimeRemainingColumn(),
                TextColumn("{task.description}"),
            )
            self._task = self._bar.add_task("", total=self._total_steps(trainer), completed=trainer.global_step)
            self._bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if not self._is_enabled:
            return
        if self._bar is not None:
            self._bar.update(self._task, completed=trainer.global_step)
        now = time.monotonic()
        pause = 0.5 if self._bar is not None else self.seconds_between_lines
        is_first = trainer.global_step == self._first_step + 1
        is_last = trainer.global_step == self._total_steps(trainer)
        if now - self._last_shown >= pause or is_first or is_last:
            self._last_shown = now
            self._show(trainer)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._stop_bar()

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        self._stop_bar()

    def _stop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _show(self, trainer: Trainer) -> None:
        known = trainer.callback_metrics
        values = "  ".join(text.format(float(known[name])) for name, text in SHOWN.items() if name in known)
        if "health/verdict" in known:
            values += f"  {Verdict(int(known['health/verdict'])).words}"
        if self._bar is not None:
            self._bar.update(self._task, description=values)
            return
        elapsed = timedelta(seconds=round(time.monotonic() - self._started))
        print(f"step {trainer.global_step}/{self._total_steps(trainer)}  {values}  elapsed {elapsed}", flush=True)

    def _total_steps(self, trainer: Trainer) -> int | None:
        steps = trainer.estimated_stepping_batches
        return None if steps == float("inf") else int(steps)
