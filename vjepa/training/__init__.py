"""LightningModules: what is trained, and how."""

from vjepa.training.jepa import JEPA
from vjepa.training.pixel_baseline import PixelBaseline
from vjepa.training.schedule import Schedule

__all__ = ["JEPA", "PixelBaseline", "Schedule"]
