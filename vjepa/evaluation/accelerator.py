"""Device and precision of what runs outside of Lightning's trainer."""

from typing import Literal

import torch

Precision = Literal["32-true", "16-mixed", "bf16-mixed"]


def torch_device(accelerator: str) -> torch.device:
    """The device that Lightning's trainer takes for this accelerator."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", 0)
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The autocast that Lightning's trainer uses at this precision."""
    dtype = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}.get(precision)
    return torch.autocast(device.type, dtype, enabled=dtype is not None)
