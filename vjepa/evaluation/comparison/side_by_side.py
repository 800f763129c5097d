"""Parallel jobs, each in a process of its own with an equal part of the processor's cores."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any

import torch


def side_by_side(at_once: int, threads: int) -> Executor:
    """Run `at_once` jobs in parallel with `threads` each; a single one runs in this process with all threads."""
    if at_once == 1:
        return _ThisProcess()
    spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    return ProcessPoolExecutor(at_once, spawn, torch.set_num_threads, (threads,))


class _ThisProcess(Executor):
    """Runs each job when it is submitted."""

    def submit(self, job: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(job(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future
