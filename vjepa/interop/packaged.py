"""Small weights that come with the package, by name: `weights/{name}` holds safetensors, settings and a card.

Settings are those of the native format, or, where a run's networks are more than that holds, its `config.yaml`.
"""

from pathlib import Path
from typing import Any

from vjepa.interop.loading import read_tensors
from vjepa.interop.recipe import PACKAGE

WEIGHTS_FOLDER = PACKAGE / "weights"
WEIGHTS, RUN_SETTINGS = "model.safetensors", "config.yaml"
STEP = "global_step"  # of training, beside the weights of a run


def packaged_names() -> list[str]:
    """Names of the weights that come with the package."""
    return sorted(file.parent.name for file in WEIGHTS_FOLDER.glob(f"*/{WEIGHTS}"))


def packaged_weights(name: str | Path) -> Path | None:
    """The folder of packaged weights; None for another name, and where a file or folder of the name is at hand."""
    return None if Path(name).exists() or str(name) not in packaged_names() else WEIGHTS_FOLDER / name


def packaged_run(name: str | Path) -> Path | None:
    """The folder of packaged weights that hold all networks of a run; None for others, and as `packaged_weights`."""
    folder = packaged_weights(name)
    return folder if folder is not None and (folder / RUN_SETTINGS).exists() else None


def read_packaged_run(folder: Path) -> dict[str, Any]:
    """Weights and step of `packaged_run`, by the keys of a checkpoint of `vjepa fit`."""
    weights = read_tensors(folder / WEIGHTS)
    return {"state_dict": weights, "global_step": int(weights.pop(STEP))}
