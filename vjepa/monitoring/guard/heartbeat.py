"""A file that tells a watchdog that a run is alive, and where it is."""

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from vjepa.data.atomic_file import writing

FILE = "heartbeat.json"


class Heartbeat(Callback):
    """Writes `heartbeat.json` into the run's folder on rank 0: step, time (seconds since 1970), host and process.

    All ranks go from step to step together, so a heart that has stopped tells of a stuck rank too. A write that fails
    ends no run.

    Args:
        every_n_seconds: least time from one beat to the next, at the end of a training or validation step.
    """

    def __init__(self, every_n_seconds: float = 30.0):
        if every_n_seconds < 0:
            raise ValueError(f"every_n_seconds ({every_n_seconds}) must be at least 0")
        self.every_n_seconds = every_n_seconds
        self._last = -float("inf")

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *others: Any) -> None:
        self._beat(trainer, "training")

    def on_validation_batch_end(self, trainer: Trainer, module: LightningModule, *others: Any) -> None:
        self._beat(trainer, "validation")

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._last = -float("inf")
        self._beat(trainer, "finished")

    def _beat(self, trainer: Trainer, state: str) -> None:
        now = time.monotonic()
        if not trainer.is_global_zero or trainer.state.fn != "fit" or now - self._last < self.every_n_seconds:
            return
        self._last = now
        file = Path(trainer.default_root_dir) / FILE
        content = {"step": trainer.global_step, "time": time.time(), "state": state, "pid": os.getpid()}
        temporary = file.with_name(f".{FILE}.tmp")
        try:
            with writing(file, temporary):  # by rename alone: a beat need not outlive a power cut
                temporary.write_text(json.dumps(content | {"host": platform.node()}) + "\n", encoding="utf-8")
                temporary.replace(file)
        except OSError as error:
            print(f"no heartbeat: {error}", flush=True)
