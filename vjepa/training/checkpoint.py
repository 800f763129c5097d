"""Checkpoints that a kill can't spoil and that carry no code: written aside and renamed, read as tensors only."""

import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from vjepa.data.atomic_file import new_file
from vjepa.interop.loading import fault_of, read_checkpoint, require_whole


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file in the checkpoint's own folder, flushes it to disk and renames it.

    So the name always holds a whole checkpoint, the last good one, on network file systems too.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        # torch tells the reason of a failure only where Python writes.
        with new_file(path) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)
        _sync_folder(path.parent)

    def load_checkpoint(
        self, path: str | Path, map_location: Callable[..., Any] | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        checkpoint = read_checkpoint(path, map_location or "cpu")
        require_whole(path)
        missing = [name for name in ("state_dict", "pytorch-lightning_version", "loops") if name not in checkpoint]
        if missing:
            raise ValueError(
                f"{path} is no checkpoint of `vjepa fit` (it has no {', '.join(missing)}), so that no run goes on from "
                f"it; --model.initial_weights takes the weights of other files"
            )
        return checkpoint


class AsynchronousCheckpointIO(AtomicCheckpointIO):
    """The same in a thread of its own: a step waits while tensors are copied to main memory, and not for the disk.

    One file is written at a time. A write that fails raises its error at the next save, or when the run ends. The copy
    keeps its memory: filling new memory takes several times as long.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None
        self._copies: list[Tensor] = []  # of a checkpoint's tensors, in their order

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        self.wait()
        before, self._copies = self._copies, []
        staged = apply_to_collection(checkpoint, Tensor, self._copied, before)
        self._writing = self._thread.submit(super().save_checkpoint, staged, path, storage_options)

    def _copied(self, tensor: Tensor, before: list[Tensor]) -> Tensor:
        number = len(self._copies)
        copy = before[number] if number < len(before) else None
        if copy is None or copy.shape != tensor.shape or copy.dtype != tensor.dtype:
            copy = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=tensor.is_cuda)
        self._copies.append(copy.copy_(tensor.detach()))
        return copy

    def load_checkpoint(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        self.wait()
        return super().load_checkpoint(*arguments, **options)

    def wait(self) -> None:
        """Until the last file is whole on disk. Raises the error of its write."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def teardown(self) -> None:
        try:
            self.wait()
        finally:
            self._thread.shutdown()


def checkpoints_of(folder: Path) -> list[Path]:
    """Checkpoints in a folder of `RunCheckpoint`, the newest first: last.ckpt, previous ones, those that are kept."""
    found = []
    for file in folder.glob("*.ckpt"):
        if name := re.fullmatch(r"(last|previous|step)(?:_(\d+))?", file.stem):
            number = int(name[2] or 0)
            order = {"last": (0, 0), "previous": (1, number), "step": (2, -number)}
            found.append((order[name[1]], file))
    return [file for _, file in sorted(found)]


def newest_whole(checkpoints: Iterable[Path], say: Callable[[str], None] = print) -> Path | None:
    """The first of these that is whole; None where none is. Says which were skipped, and why."""
    for file in checkpoints:
        fault = fault_of(file)
        if fault is None:
            return file
        say(f"skipped the checkpoint {file}: {fault}")
    return None


def _sync_folder(folder: Path) -> None:
    """Make the rename itself lasting."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
