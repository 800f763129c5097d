"""Signals that end a command: Ctrl-C (SIGINT), and SIGTERM, which schedulers send before they kill."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from lightning.pytorch.utilities import rank_zero_only

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(SystemExit):
    """Ends the command with the exit code that shells give a signal: 130 for SIGINT, 143 for SIGTERM."""

    def __init__(self, number: int):
        super().__init__(128 + number)


@contextmanager
def interruptible(note: str) -> Iterator[None]:
    """The signals say the note and raise `Interrupted` inside, unless other handlers are set there."""

    def end(number: int, frame: FrameType | None) -> None:
        say(f"stopped by {signal.Signals(number).name}{note and '; '}{note}")
        raise Interrupted(number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    handle_signals(end)
    try:
        yield
    finally:
        for number, handler in before.items():
            handle_signals(signal.SIG_DFL if handler is None else handler, number)  # None: not one of Python's


def handle_signals(handler: Callable[[int, FrameType | None], None] | int, *numbers: int) -> None:
    """Set a handler of these signals, or of both. Python allows it in the main thread only."""
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
