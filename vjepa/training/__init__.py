"""LightningModules, schedules and checkpoints."""

from vjepa.training.frame_targets import AverageLatents, DetachedLatents, FrameTargets, OwnLatents
from vjepa.training.image_self_distillation import ImageSelfDistillation
from vjepa.training.jepa import JEPA
from vjepa.training.pixel_baseline import PixelBaseline
from vjepa.training.schedule import Schedule
from vjepa.training.targets import MovingAverage, OwnTokens, Targets, Teacher
from vjepa.training.world_model import WorldModel

__all__ = [
    "JEPA",
    "AverageLatents",
    "DetachedLatents",
    "FrameTargets",
    "ImageSelfDistillation",
    "MovingAverage",
    "OwnLatents",
    "OwnTokens",
    "PixelBaseline",
    "Schedule",
    "Targets",
    "Teacher",
    "WorldModel",
]
