"""Speed of a run and its time spent waiting for data, as `speed/...`."""

import time

from lightning.pytorch import Callback, LightningModule, Trainer

from vjepa.data.clips.batch import ClipBatch
from vjepa.data.episodes.batch import EpisodeBatch
from vjepa.monitoring.log_now import log_now


class Throughput(Callback):
    """Clips per second over all ranks, and the fraction of time that is spent waiting for the next batch.

    Both are means over at least `seconds_between_logs`, without the first step (start-up of workers, compilation).
    """

    def __init__(self, seconds_between_logs: float = 2.0):
        self.seconds_between_logs = seconds_between_logs
        self._since: float | None = None
        self._step_ended = self._waited = 0.0
        self._clips = 0

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: ClipBatch | EpisodeBatch, batch_idx: int
    ) -> None:
        if self._since is not None:
            self._waited += time.perf_counter() - self._step_ended

    def on_train_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: object,
        batch: ClipBatch | EpisodeBatch,
        batch_idx: int,
    ) -> None:
        now = time.perf_counter()
        if self._since is None:
            self._restart(now)
            return
        self._clips += len(batch[0]) * trainer.world_size
        self._step_ended = now
        elapsed = now - self._since
        if elapsed >= self.seconds_between_logs:
            speed = {"speed/clips_per_second": self._clips / elapsed, "speed/data_wait": self._waited / elapsed}
            log_now(trainer, module, speed)
            self._restart(now)

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.pause()

    def pause(self) -> None:
        """Leave the time until the next step out of the training speed."""
        self._since = None

    def _restart(self, now: float) -> None:
        self._since = self._step_ended = now
        self._waited, self._clips = 0.0, 0
