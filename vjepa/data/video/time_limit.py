"""A time limit for decoders that never return.

Decoders release the interpreter lock, so a second thread can wait for one and give up. A hung thread can't be killed:
it stays until its process ends; nothing waits for it.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from vjepa.data.video.facts import VideoError

T = TypeVar("T")


class OutOfTimeError(VideoError):
    """A decoder did not return."""


def with_time_limit(work: Callable[[], T], seconds: float | None, reason: str) -> T:
    """Return or raise as `work` does. Raises OutOfTimeError(reason) after the time limit."""
    if seconds is None:
        return work()
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # raised again in the waiting thread
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    if not wait([future], seconds).done:
        raise OutOfTimeError(reason)
    return future.result()
