"""Small weights that come with the package, by name: `weights/{name}` holds safetensors, settings and a card."""

from pathlib import Path

from vjepa.interop.recipe import PACKAGE

WEIGHTS_FOLDER = PACKAGE / "weights"
WEIGHTS, RUN_SETTINGS = "model.safetensors", "config.yaml"


def packaged_names() -> list[str]:
    """Names of the weights that come with the package."""
    return sorted(file.parent.name for file in WEIGHTS_FOLDER.glob(f"*/{WEIGHTS}"))


def packaged_weights(name: str | Path) -> Path | None:
    """The folder of packaged weights; None for another name, and where a file or folder of the name is at hand."""
    return None if Path(name).exists() or str(name) not in packaged_names() else WEIGHTS_FOLDER / name
