"""Callbacks that end a run as the out-of-memory killer, a scheduler or Ctrl-C would."""

import multiprocessing
import os
import resource
import signal
import subprocess

from lightning.pytorch import Callback


class KillAfterStep(Callback):
    def __init__(self, step: int):
        self.step = step

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


class SignalOnce(Callback):
    """Sends a signal to this process and its workers.

    Args:
        name: of the signal.
        hook: of this callback at which it is sent.
        step: of the trainer, at which the hook sends it.
        times: how often.
        rank: that gets it.
    """

    def __init__(
        self, name: str = "SIGTERM", hook: str = "on_train_batch_start", step: int = 5, times: int = 1, rank: int = 0
    ):
        self.number = signal.Signals[name]
        self.step = step
        self.times = times
        self.rank = rank
        setattr(self, hook, self._send)

    def _send(self, trainer, *others, **named) -> None:
        if trainer.global_step != self.step or trainer.global_rank != self.rank:
            return
        while self.times:
            self.times -= 1
            workers = [str(process.pid) for process in multiprocessing.active_children()]
            if workers:  # by another process, as a scheduler does
                subprocess.run(["kill", f"-{self.number.value}", *workers], check=True)
            os.kill(os.getpid(), self.number)


class SpoilGradient(Callback):
    """Multiplies all gradients of some steps."""

    def __init__(self, steps: list[int], factor: float):
        self.steps = steps
        self.factor = factor

    def on_after_backward(self, trainer, module) -> None:
        if trainer.global_step in self.steps:
            for parameter in module.parameters():
                if parameter.grad is not None:
                    parameter.grad *= self.factor


class FullDiskAfterStep(Callback):
    """No file may grow beyond this size after a step; those of a checkpoint are larger."""

    def __init__(self, step: int, size: int = 64_000):
        self.step = step
        self.size = size

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.step:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.size))


class KillWorkersAfterStep(Callback):
    def __init__(self, step: int):
        self.step = step

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.step:
            for process in multiprocessing.active_children():
                os.kill(process.pid, signal.SIGKILL)
