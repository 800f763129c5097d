"""Processor time of a step, as `speed/processor_seconds_per_step`."""

import time

from lightning.pytorch import Callback, LightningModule, Trainer

from vjepa.monitoring.log_now import log_at_end


class ProcessorTime(Callback):
    """Processor seconds of rank 0's process per step, from after the first step to the end; logged once, at the end.

    Other jobs change it less than wall-clock time. It includes all threads (also spinning ones), other callbacks and
    validation, but no decoding, which is done by other processes.
    """

    def __init__(self) -> None:
        self._since: tuple[int, float] | None = None  # step, processor seconds

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if self._since is None:
            self._since = (trainer.global_step, time.process_time())

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        if self._since is None or trainer.global_step == self._since[0]:
            return
        first, started = self._since
        value = (time.process_time() - started) / (trainer.global_step - first)
        log_at_end(trainer, {"speed/processor_seconds_per_step": value})
