"""Loaders whose workers decode, each with one OpenCV thread."""

import os
import signal
import threading
from collections.abc import Callable, Iterable
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset


def decoding_loader(
    dataset: Dataset[Any],
    sampler: Iterable[list[Any]],
    collate: Callable[[list[Any]], Any],
    num_workers: int,
    persistent_workers: bool = False,
) -> DataLoader[Any]:
    if num_workers:
        # In this process too: OpenCV hangs if the setting is made only in a fork of a process that used its threads.
        cv2.setNumThreads(1)
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=num_workers,
        persistent_workers=persistent_workers and num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_prepare_worker,
    )


def _prepare_worker(worker: int) -> None:
    cv2.setNumThreads(1)  # spawned workers start with one thread per processor
    # Ctrl-C and schedulers signal workers too, but the main process decides what follows.
    for name in ("SIGINT", "SIGUSR1", "SIGUSR2"):  # Windows has the first alone
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_end_when_the_main_process_asks, daemon=True).start()


def _end_when_the_main_process_asks() -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        pass
    os._exit(0)
