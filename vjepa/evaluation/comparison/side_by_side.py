"""Jobs side by side, each in a process of its own with its share of the processor's cores."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any

import torch


def side_by_side(at_once: int, threads: int) -> Executor:
    """So many jobs at once, with so many threads each; one at a time is done here, with the threads there are."""
    if at_once == 1:
        return _ThisProcess()
    spawn = multiprocessing.get_context("spawn")  # a fork of a process whose threads have worked may hang
    return ProcessPoolExecutor(at_once, spawn, torch.set_num_threads, (threads,))


class _ThisProcess(Executor):
    """Jobs one by one, as they are given."""

    def submit(self, job: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        future: Future = Future()
        try:
            future.set_result(job(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future
