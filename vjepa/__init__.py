"""vjepa: train, probe and plan with video joint-embedding predictive architectures."""

from vjepa._torchvision_on_cpu import declare_missing_operators

declare_missing_operators()  # must run before anything imports torchvision (Lightning and timm do)

__version__ = "0.1.0"
