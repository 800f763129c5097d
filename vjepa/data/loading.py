"""Loaders whose workers decode, each with one OpenCV thread."""

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
        worker_init_fn=_one_thread,
    )


def _one_thread(worker: int) -> None:
    cv2.setNumThreads(1)  # spawned workers start with one thread per processor
