"""Weights in files: tensors and plain values only, never code, and all of them or none."""

import errno
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.serialization import MAP_LOCATION

from vjepa.data.atomic_file import new_file
from vjepa.data.video.storage import where_looked_for


def read_checkpoint(path: str | Path, map_location: MAP_LOCATION = "cpu", lazily: bool = False) -> dict[str, Any]:
    """Read a checkpoint of tensors and plain values.

    With `lazily` a tensor is read when it is used; optimizer states never are.
    Raises ValueError where there is no such file, it is not a checkpoint, or it contains pickled code.
    """
    try:
        mapped = lazily and zipfile.is_zipfile(path)
        checkpoint = torch.load(path, map_location=map_location, weights_only=True, mmap=mapped)
    except (FileNotFoundError, IsADirectoryError):
        raise ValueError(f"there is no checkpoint file {path}{where_looked_for(str(path))}") from None
    except pickle.UnpicklingError as error:
        code = re.search(r"(?:GLOBAL|global) ([\w.]+)", str(error))
        if code or zipfile.is_zipfile(path):
            what = f"it would run {code[1]}" if code else " ".join(str(error).split())
            raise ValueError(f"{path} holds more than tensors and plain values, so it was not loaded: {what}") from None
        raise ValueError(f"{path} is not a checkpoint (or was cut short)") from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # a failing disk is not a bad file
            raise
        raise ValueError(f"{path} is not a checkpoint (or was cut short)") from None
    except Exception:  # any error can come of a file that is not a pickle
        raise ValueError(f"{path} is not a checkpoint (or was cut short)") from None
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path} holds a {type(checkpoint).__name__}, not a checkpoint")
    return checkpoint


def fault_of(path: str | Path) -> str | None:
    """What is wrong with a checkpoint file, or None where it is whole.

    `torch.save` writes a CRC-32 beside each tensor, which `torch.load` does not compare: a bit that a disk or a copy
    has flipped would become a weight. All of the file is read, at about 1 GB/s.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            spoilt = archive.testzip()
    except FileNotFoundError:
        return "there is no such file"
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError):
        return "it is empty" if Path(path).stat().st_size == 0 else "it was cut short, or is no checkpoint"
    return None if spoilt is None else f"its part {spoilt} differs from its checksum"


def require_whole(path: str | Path) -> None:
    """Raise ValueError where a part of a checkpoint differs from its checksum; other files are left to a reader."""
    if zipfile.is_zipfile(path) and (fault := fault_of(path)):
        raise ValueError(
            f"{path} is spoilt: {fault}; give another (a run goes on from its newest whole one by --ckpt_path=last)"
        )


def read_run_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a whole checkpoint of `vjepa fit`, lazily.

    Raises ValueError as `read_checkpoint`, for other checkpoints, and where a part differs from its checksum.
    """
    content = read_checkpoint(path, lazily=True)
    require_whole(path)
    if "state_dict" not in content:
        raise ValueError(f"{path} has no 'state_dict': it is no checkpoint of a vjepa run")
    return content


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Weights by name, of a safetensors file or a checkpoint (its `state_dict` if it has one).

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


def write_weights(weights: Mapping[str, Tensor], file: Path) -> None:
    """Write a safetensors file."""
    with new_file(file) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, temporary, {"format": "pt"})


class WeightDifferences(NamedTuple):
    """Names of weights that do not fit; reshaped ones with both shapes."""

    missing: list[str]
    unexpected: list[str]
    reshaped: list[str]


def weight_differences(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> WeightDifferences:
    """How the weights of a file differ from those of a network, by name and shape."""
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
    """Load weights whose names and shapes are exactly the module's, or raise ValueError with every difference."""
    require_same_weights(module.state_dict(), found, path)
    module.load_state_dict(dict(found))


def require_same_weights(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], path: str | Path) -> None:
    """Raise ValueError with every difference in names and shapes."""
    if wanted and found and not set(wanted) & set(found):
        ours, theirs = (" and ".join(sorted({name.partition(".")[0] for name in names})) for names in (wanted, found))
        raise ValueError(f"{path} is of another kind of model: it has {theirs}, this model {ours}")
    differences = weight_differences(wanted, found)
    problems = [f"{kind}: {name}" for kind, names in differences._asdict().items() for name in names]
    if problems:
        raise ValueError(f"{path} does not fit this model, nothing was loaded:\n  " + "\n  ".join(problems))
