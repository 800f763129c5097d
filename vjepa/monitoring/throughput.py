"""Speed of a run, how much of the device it uses, and its time spent waiting for data, as `speed/...`."""

import sys
import time

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from vjepa.data.clips.batch import ClipBatch
from vjepa.data.episodes.batch import EpisodeBatch
from vjepa.monitoring.log_now import log_now
from vjepa.training.cost.gpus import gpu_of_device
from vjepa.training.scheduled_module import ScheduledModule

HALF_PRECISIONS = ("bf16-mixed", "16-mixed")


class Throughput(Callback):
    """Clips per second over all ranks, and the fraction of time that is spent waiting for the next batch.

    Where the model knows its FLOPs, also rank 0's TFLOP/s, and on a GPU that is known, in 16 bits, the fraction of its
    peak (MFU, model FLOPs utilisation: what is computed again counts as time alone). Peak memory is that of tensors on
    a GPU, and of the process on a CPU, in GiB.

    All but memory are means over at least `seconds_between_logs`, without the first step (start-up of workers,
    compilation). Nothing is read from the device: a GPU's queue is short beside these seconds.
    """

    def __init__(self, seconds_between_logs: float = 2.0):
        self.seconds_between_logs = seconds_between_logs
        self._since: float | None = None
        self._step_ended = self._waited = 0.0
        self._clips = self._flops = 0

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
        self._flops += (module.flops_of(batch) or 0) if isinstance(module, ScheduledModule) else 0
        self._step_ended = now
        elapsed = now - self._since
        if elapsed >= self.seconds_between_logs:
            speed = {"speed/clips_per_second": self._clips / elapsed, "speed/data_wait": self._waited / elapsed}
            if self._flops:
                rate = self._flops / elapsed / 1e12
                speed |= {"speed/tflops": rate} | utilization(rate, module.device, str(trainer.precision))
            log_now(trainer, module, speed | {"speed/peak_memory": peak_memory(module.device) / 2**30})
            self._restart(now)

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.pause()

    def pause(self) -> None:
        """Leave the time until the next step out of the training speed."""
        self._since = None

    def _restart(self, now: float) -> None:
        self._since = self._step_ended = now
        self._waited, self._clips, self._flops = 0.0, 0, 0


def utilization(tflops: float, device: torch.device, precision: str) -> dict[str, float]:
    """`speed/mfu`, where the peak of the device in this precision is known."""
    if device.type != "cuda" or precision not in HALF_PRECISIONS:
        return {}
    gpu = gpu_of_device(torch.cuda.get_device_name(device))
    return {} if gpu is None else {"speed/mfu": tflops / gpu.peak_tflops}


def peak_memory(device: torch.device) -> int:
    """Bytes of this process: of tensors on a GPU, all on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource  # not on every system

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024
