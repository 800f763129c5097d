"""Checkpoints that a kill can't spoil and that carry no code: written aside and renamed, read as tensors only."""

import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file in the checkpoint's own folder, flushes it to disk and renames it.

    So the name always holds a whole checkpoint, the last good one, on network file systems too.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with aside.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)
        _sync_folder(path.parent)

    def load_checkpoint(
        self, path: str | Path, map_location: Callable | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        return read_checkpoint(path, map_location or "cpu")


def read_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint of tensors and plain values.

    Raises ValueError where there is no such file, it is not a checkpoint, or it holds pickled code.
    """
    try:
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except (FileNotFoundError, IsADirectoryError):
        raise ValueError(f"there is no checkpoint file {path}") from None
    except pickle.UnpicklingError as error:
        if zipfile.is_zipfile(path):
            raise ValueError(
                f"{path} holds more than tensors and plain values, so it was not loaded: {error}"
            ) from None
        raise ValueError(f"{path} is not a checkpoint (or was cut short)") from None
    except OSError:
        raise
    except Exception:  # reading what is no pickle can fail in any way
        raise ValueError(f"{path} is not a checkpoint (or was cut short)") from None
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path} holds a {type(checkpoint).__name__}, not a checkpoint")
    return checkpoint


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Weights by name: of a safetensors file, or of a checkpoint (what is below its `state_dict` if it has one).

    Raises ValueError where there is no such file, or it holds no tensors.
    """
    if Path(path).suffix == ".safetensors":
        try:
            return load_file(path)
        except FileNotFoundError:
            raise ValueError(f"there is no weights file {path}") from None
        except SafetensorError as error:
            raise ValueError(f"{path} is no safetensors file (or was cut short): {error}") from None
    checkpoint = read_checkpoint(path)
    tensors = checkpoint.get("state_dict", checkpoint)
    if not isinstance(tensors, dict):
        raise ValueError(f"the 'state_dict' of {path} is a {type(tensors).__name__}, not a table of weights")
    return {str(name): value for name, value in tensors.items() if isinstance(value, Tensor)}


def load_weights(module: nn.Module, path: str | Path) -> None:
    """Load the weights of a training checkpoint into a module of the same shape, all of them or none.

    Raises ValueError with every missing, unexpected and reshaped name.
    """
    checkpoint = read_checkpoint(path)
    if "state_dict" not in checkpoint:
        raise ValueError(f"{path} has no 'state_dict': it is no checkpoint of a vjepa run")
    load_all(module, checkpoint["state_dict"], path)


def load_all(module: nn.Module, found: Mapping[str, Tensor], path: str | Path) -> None:
    """Load weights under exactly the module's names and shapes, or raise ValueError with every difference."""
    wanted = module.state_dict()
    problems = [f"missing: {name}" for name in wanted if name not in found]
    problems += [f"unexpected: {name}" for name in found if name not in wanted]
    problems += [
        f"reshaped: {name} is {tuple(found[name].shape)}, must be {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in found and found[name].shape != tensor.shape
    ]
    if problems:
        raise ValueError(f"{path} does not fit this model, nothing was loaded:\n  " + "\n  ".join(problems))
    module.load_state_dict(dict(found))


def _sync_folder(folder: Path) -> None:
    """Make the rename itself lasting."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
