"""Signals that end a command: Ctrl-C (SIGINT), and SIGTERM and SIGUSR1, which schedulers send before they kill."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from lightning.pytorch.plugins.environments import SLURMEnvironment  # type: ignore[attr-defined]
from lightning.pytorch.utilities import rank_zero_only

REQUEUES = "SIGUSR1"
# Windows has the first two alone.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", REQUEUES) if hasattr(signal, name))


class Interrupted(SystemExit):
    """Ends the command with a shell's exit code of a signal: 130 for SIGINT, 143 for SIGTERM, 138 for SIGUSR1."""

    def __init__(self, number: int):
        super().__init__(128 + number)


@contextmanager
def interruptible(note: str, requeues: bool = False) -> Iterator[None]:
    """The signals say the note and raise `Interrupted` inside, unless other handlers are set there.

    With `requeues`, SIGUSR1 also asks SLURM to start the job again.
    """

    def end(number: int, frame: FrameType | None) -> None:
        say(f"stopped by {signal.Signals(number).name}{note and '; '}{note}")
        if requeues and signal.Signals(number).name == REQUEUES:
            requeue_job()
        raise Interrupted(number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    handle_signals(end)
    try:
        yield
    finally:
        for number, handler in before.items():
            handle_signals(signal.SIG_DFL if handler is None else handler, number)  # None: not one of Python's


def handle_signals(handler: Callable[[int, FrameType | None], None] | int, *numbers: int) -> None:
    """Set a handler of these signals, or of all. Python allows it in the main thread only."""
    if threading.current_thread() is threading.main_thread():
        for number in numbers or SIGNALS:
            signal.signal(number, handler)


def say(message: str) -> None:
    """A line on rank 0's stderr, from a handler of signals."""
    if rank_zero_only.rank:  # type: ignore[attr-defined]
        return
    try:
        print(f"\nvjepa: {message}", file=sys.stderr, flush=True)
    except RuntimeError:  # the signal came while Python's own stream was being written
        os.write(2, f"\nvjepa: {message}\n".encode())


def requeue_job() -> None:
    """Ask SLURM to start this job again, on rank 0. Nothing is done outside of a job."""
    if rank_zero_only.rank or not SLURMEnvironment.detect():  # type: ignore[attr-defined]
        return
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
    try:
        code = subprocess.run(["scontrol", "requeue", job], check=False).returncode
        fault = f"exit code {code}" if code else None
    except OSError as error:
        fault = str(error)
    say(f"job {job} could not be requeued ({fault}); submit it again" if fault else f"job {job} is requeued")
