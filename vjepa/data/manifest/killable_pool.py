"""Work on files in processes that may hang or crash: such a process is killed and its file reported, the rest go on."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, TimeoutError, wait
from itertools import islice
from typing import NamedTuple, TypeVar

from pebble import ProcessExpired, ProcessPool

Task = TypeVar("Task")
Result = TypeVar("Result")
TASKS_PER_WORKER = 4  # submitted at once, so that a long list of tasks takes no memory


class Lost(NamedTuple):
    """Why a task has no result."""

    reason: str


def map_killable(
    function: Callable[[Task], Result], tasks: Sequence[Task], num_workers: int, time_limit: float
) -> Iterator[tuple[int, Result | Lost]]:
    """(index of the task, result) in order of completion.

    Args:
        function: of a module, which each process imports.
        tasks: arguments of the function.
        num_workers: processes.
        time_limit: seconds per task, after which its process is killed.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])
    num_workers = max(1, num_workers)
    pool = ProcessPool(num_workers, context=context)
    waiting = iter(enumerate(tasks))
    running: dict[Future[Result | Lost], int] = {}
    try:
        while True:
            for index, task in islice(waiting, TASKS_PER_WORKER * num_workers - len(running)):
                running[pool.schedule(function, args=[task], timeout=time_limit)] = index
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), _result(future, time_limit)
    finally:
        pool.stop()
        pool.join()


def _result(future: Future[Result | Lost], time_limit: float) -> Result | Lost:
    try:
        return future.result()
    except TimeoutError:
        return Lost(f"the decoder did not return within {time_limit:g} s")
    except ProcessExpired as error:
        return Lost(f"the decoder crashed (exit code {error.exitcode})")
    except Exception as error:  # one odd file must not end the work on a million others
        return Lost(f"{type(error).__name__}: {error}")
