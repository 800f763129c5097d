"""What a step costs on a processor, as `speed/processor_seconds_per_step`."""

import time

from lightning.pytorch import Callback, LightningModule, Trainer


class ProcessorTime(Callback):
    """Processor seconds of this process per step, from after the first step to the end; written once, at the end.

    Other jobs lengthen it less than the clock's time, but threads that wait for one another spin, and that counts.
    All threads of rank 0 do. Workers that decode are processes of their own and do not; what other callbacks and
    validation take does.
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
        for logger in trainer.loggers:  # Lightning takes no `log` any more
            logger.log_metrics({"speed/processor_seconds_per_step": value}, step=trainer.global_step)
