"""LightningModules: what is trained, and how."""

from vjepa.training.image_self_distillation import ImageSelfDistillation
from vjepa.training.jepa import JEPA
from vjepa.training.pixel_baseline import PixelBaseline
from vjepa.training.schedule import Schedule
from vjepa.training.world_model import WorldModel

__all__ = ["JEPA", "ImageSelfDistillation", "PixelBaseline", "Schedule", "WorldModel"]
