"""LightningModules: what is trained, and how."""

from vjepa.training.jepa import JEPA
from vjepa.training.pixel_baseline import PixelBaseline
from vjepa.training.schedule import Schedule
from vjepa.training.world_model import WorldModel

__all__ = ["JEPA", "PixelBaseline", "Schedule", "WorldModel"]
