"""Loaders whose workers decode, each with one OpenCV thread."""

import signal
from collections.abc import Callable, Iterable
from types import FrameType
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
    # Ctrl-C and schedulers signal workers too, but the main process decides when to end them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _ignore_once)


def _ignore_once(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # the next one comes from the main process
