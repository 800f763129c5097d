"""Loaders whose workers decode: each has one thread of OpenCV's, and none hangs."""

from collections.abc import Callable, Iterable
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset


def decoding_loader(
    dataset: Dataset,
    sampler: Iterable[list[Any]],
    collate: Callable[[list[Any]], Any],
    num_workers: int,
    persistent_workers: bool = False,
) -> DataLoader:
    """A loader over the sampler's batches of keys."""
    if num_workers:
        # In this process too: told so only in a fork of a process where its threads have worked, OpenCV never returns.
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
    cv2.setNumThreads(1)  # workers that are spawned start with as many as there are processors
