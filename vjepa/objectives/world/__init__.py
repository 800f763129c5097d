"""Terms of a world model's loss."""

from vjepa.objectives.world.episode_contrast import EpisodeContrast
from vjepa.objectives.world.frame_prediction import FramePrediction
from vjepa.objectives.world.inverse_dynamics import InverseDynamicsTerm
from vjepa.objectives.world.regularization import EpisodeRegularization, FrameRegularization
from vjepa.objectives.world.rollout import Rollout, TeacherForcing
from vjepa.objectives.world.step import ModelSizes, WindowStep, WindowTerm
from vjepa.objectives.world.temporal_distance import TemporalDistance
from vjepa.objectives.world.trajectory_shape import Straightening, TimeSimilarity

__all__ = [
    "EpisodeContrast",
    "EpisodeRegularization",
    "FramePrediction",
    "FrameRegularization",
    "InverseDynamicsTerm",
    "ModelSizes",
    "Rollout",
    "Straightening",
    "TeacherForcing",
    "TemporalDistance",
    "TimeSimilarity",
    "WindowStep",
    "WindowTerm",
]
