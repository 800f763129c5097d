"""Files of a Hugging Face folder: settings as JSON, weights in one safetensors file or in several."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from vjepa.interop.loading import read_tensors

WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Raises ValueError where a file is missing, broken or outside of the folder."""
    index = folder / INDEX
    if not index.exists():
        return read_tensors(folder / WEIGHTS)
    files = sorted(set(read_json(index).get("weight_map", {}).values()))
    outside = [name for name in files if Path(name).name != name]
    if outside:
        raise ValueError(f"{index} names files outside of its folder: {', '.join(outside)}")
    weights: dict[str, Tensor] = {}
    for name in files:
        weights |= read_tensors(folder / name)
    return weights


def read_json(file: Path) -> dict[str, Any]:
    """Raises ValueError where the file is missing or holds no settings."""
    try:
        content = json.loads(file.read_text())
    except FileNotFoundError:
        raise ValueError(f"{file.parent} has no {file.name}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is no JSON (or was cut short): {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds a {type(content).__name__}, not settings")
    return content
