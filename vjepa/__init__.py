"""vjepa: train, probe and plan with video joint-embedding predictive architectures."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vjepa._torchvision_on_cpu import OperatorsBeforeTorchvision

if TYPE_CHECKING:
    from vjepa.evaluation.planning.agent import Agent
    from vjepa.interop.load_encoder import LoadedEncoder

sys.meta_path.insert(0, OperatorsBeforeTorchvision())  # Lightning and timm import torchvision

__version__ = "0.1.0"


def load_encoder(
    path: str | Path,
    which: str | None = None,
    num_heads: int | None = None,
    image_size: int | None = None,
) -> "LoadedEncoder":
    """A frozen encoder from a released file, a Hugging Face or native folder, a run or a recipe (docs/checkpoints.md).

    Args:
        path: the file or folder; "synthetic", weights that come with the package; a model of the Hugging Face hub, such
            as "facebook/vjepa2-vitl-fpc64-256"; or the name of another recipe (weights are then random).
        which: of several encoders; the moving average if None.
        num_heads: for released files of a width that no released model has.
        image_size: height and width of clips in pixels, where the source says none or another.
    """
    from vjepa.interop.load_encoder import load_encoder  # late: importing vjepa must stay cheap

    return load_encoder(path, which, num_heads, image_size)


def __getattr__(name: str) -> "type[Agent]":
    if name == "Agent":
        from vjepa.evaluation.planning.agent import Agent  # late: importing vjepa must stay cheap

        return Agent
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
