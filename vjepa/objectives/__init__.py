"""What training minimises."""

from vjepa.objectives.barlow_twins import BarlowTwins
from vjepa.objectives.clip_contrast import ClipContrast
from vjepa.objectives.context_prediction import ContextPrediction, distance_to_hidden
from vjepa.objectives.latent_prediction import Distance, latent_prediction_loss, normalized_targets
from vjepa.objectives.projector import Projector
from vjepa.objectives.regularizer import Regularizer
from vjepa.objectives.sigreg import SIGReg
from vjepa.objectives.variance_covariance import VarianceCovariance

__all__ = [
    "BarlowTwins",
    "ClipContrast",
    "ContextPrediction",
    "Distance",
    "Projector",
    "Regularizer",
    "SIGReg",
    "VarianceCovariance",
    "distance_to_hidden",
    "latent_prediction_loss",
    "normalized_targets",
]
