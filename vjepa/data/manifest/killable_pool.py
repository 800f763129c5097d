"""Work on files in processes that may hang or crash: one that does is ended and named, the others go on."""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


class Lost(NamedTuple):
    """What became of a task whose process did not live to answer."""

    reason: str


class _Worker:
    """A process that answers one task at a time."""

    def __init__(self, context: Any, function: Callable):
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, function), daemon=True)
        self.process.start()
        theirs.close()
        self.number: int | None = None  # of the task at hand
        self.deadline = float("inf")

    def give(self, number: int, task: object, time_limit: float) -> None:
        self.number, self.deadline = number, time.monotonic() + time_limit
        self.connection.send((number, task))

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def map_killable(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    num_workers: int,
    time_limit: float,
    first_wait: float = 60.0,
) -> Iterator[tuple[int, Result | Lost]]:
    """(number of the task, result) as they come, not in order.

    Args:
        function: of a module, for processes are started anew and import it. It must catch what it can repair.
        tasks: what it is called with.
        num_workers: processes.
        time_limit: seconds for one task; a process that takes longer is killed.
        first_wait: seconds more for a process's first task, which also waits for the imports.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])
    waiting = iter(enumerate(tasks))
    workers: list[_Worker] = []
    try:
        for _, (number, task) in zip(range(max(1, num_workers)), waiting, strict=False):
            workers.append(_Worker(context, function))
            workers[-1].give(number, task, time_limit + first_wait)
        while busy := [worker for worker in workers if worker.number is not None]:
            patience = min(worker.deadline for worker in busy) - time.monotonic()
            answered = wait([worker.connection for worker in busy], timeout=max(0.0, patience))
            for worker in busy:
                result = _answer(worker, worker.connection in answered, time_limit)
                if result is None:
                    continue
                yield worker.number, result  # type: ignore[misc]
                if isinstance(result, Lost):
                    worker.end()
                    workers[workers.index(worker)] = worker = _Worker(context, function)
                worker.number = None
                following = next(waiting, None)
                if following is not None:
                    worker.give(*following, time_limit + (first_wait if isinstance(result, Lost) else 0))
    finally:
        for worker in workers:
            worker.end()


def _answer(worker: _Worker, has_answered: bool, time_limit: float) -> Any:
    """A task's result, or Lost; None while it may still come."""
    if has_answered:
        try:
            number, result = worker.connection.recv()
        except (EOFError, OSError):
            worker.process.join()
            return Lost(f"the decoder crashed (exit code {worker.process.exitcode})")
        assert number == worker.number
        return result
    if time.monotonic() >= worker.deadline:
        return Lost(f"the decoder did not come back within {time_limit:g} s")
    return None


def _serve(connection: Connection, function: Callable) -> None:
    while True:
        try:
            number, task = connection.recv()
        except EOFError:
            return
        connection.send((number, function(task)))
