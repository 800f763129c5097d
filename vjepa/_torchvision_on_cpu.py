"""A workaround for torchvision beside a CPU build of torch: declare the two operators that its import needs.

The torchvision wheel of the package registry is linked against CUDA. Beside a CPU build of torch its compiled library
does not load, and `import torchvision` then fails with "operator torchvision::nms does not exist"; torchmetrics (hence
Lightning) and timm import torchvision and fail with it. Declaring the schemas is enough: nothing here calls them.
Measured with torch 2.13.0+cpu, torchvision 0.28.0, lightning 2.6.6, timm 1.0.31, torchmetrics 1.9.0.
"""

from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

_libraries: list[object] = []  # a Library removes its declarations when it is garbage-collected


class OperatorsBeforeTorchvision(MetaPathFinder):
    """Declares the operators when torchvision is first imported, so that `import vjepa` need not import torch."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name == "torchvision" and not _libraries:
            _declare_missing_operators()
        return None  # the usual finders go on


def _declare_missing_operators() -> None:
    """No effect unless torch is a CPU build and torchvision is not."""
    try:
        torch_is_cpu_build = version("torch").endswith("+cpu")
        torchvision_is_cpu_build = version("torchvision").endswith("+cpu")
    except PackageNotFoundError:
        return
    if not torch_is_cpu_build or torchvision_is_cpu_build:
        return
    import torch

    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _libraries.append(library)
