"""Reading weights of others: tensors and plain values only, never code, and all of them or none."""

import errno
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn


def read_checkpoint(path: str | Path, map_location: Any = "cpu", lazily: bool = False) -> dict[str, Any]:
    """Read a checkpoint of tensors and plain values.

    With `lazily` a tensor is read from the disk when it is used: of a checkpoint with optimizer states most never are.
    Raises ValueError where there is no such file, it is not a checkpoint, or it holds pickled code.
    """
    try:
        mapped = lazily and zipfile.is_zipfile(path)
        checkpoint = torch.load(path, map_location=map_location, weights_only=True, mmap=mapped)
    except (FileNotFoundError, IsADirectoryError):
        raise ValueError(f"there is no checkpoint file {path}") from None
    except pickle.UnpicklingError as error:
        code = re.search(r"(?:GLOBAL|global) ([\w.]+)", str(error))
        if code or zipfile.is_zipfile(path):
            what = f"it would run {code[1]}" if code else " ".join(str(error).split())
            raise ValueError(f"{path} holds more than tensors and plain values, so it was not loaded: {what}") from None
        raise ValueError(f"{path} is not a checkpoint (or was cut short)") from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # a disk that fails must not pass for a bad file
            raise
        raise ValueError(f"{path} is not a checkpoint (or was cut short)") from None
    except Exception:  # reading what is no pickle can fail in any way
        raise ValueError(f"{path} is not a checkpoint (or was cut short)") from None
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path} holds a {type(checkpoint).__name__}, not a checkpoint")
    return checkpoint


def read_run_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of `vjepa fit`, lazily. Raises ValueError as `read_checkpoint`, and where it is of no run."""
    content = read_checkpoint(path, lazily=True)
    if "state_dict" not in content:
        raise ValueError(f"{path} has no 'state_dict': it is no checkpoint of a vjepa run")
    return content


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


class WeightDifferences(NamedTuple):
    """Names, each with what is wrong where that is not plain."""

    missing: list[str]
    unexpected: list[str]
    reshaped: list[str]


def weight_differences(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> WeightDifferences:
    """How found weights differ from those that a network has, by name and shape."""
    return WeightDifferences(
        [name for name in wanted if name not in found],
        [name for name in found if name not in wanted],
        [
            f"{name} is {tuple(found[name].shape)}, must be {tuple(tensor.shape)}"
            for name, tensor in wanted.items()
            if name in found and found[name].shape != tensor.shape
        ],
    )


def load_all(module: nn.Module, found: Mapping[str, Tensor], path: str | Path) -> None:
    """Load weights under exactly the module's names and shapes, or raise ValueError with every difference."""
    differences = weight_differences(module.state_dict(), found)
    problems = [f"{kind}: {name}" for kind, names in differences._asdict().items() for name in names]
    if problems:
        raise ValueError(f"{path} does not fit this model, nothing was loaded:\n  " + "\n  ".join(problems))
    module.load_state_dict(dict(found))
