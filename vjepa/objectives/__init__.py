"""Training objectives: terms of the loss, and the functions and regularizers behind them."""

from vjepa.objectives.agreement import Agreement, ViewAgreement
from vjepa.objectives.barlow_twins import BarlowTwins
from vjepa.objectives.clip_contrast import ClipContrast
from vjepa.objectives.context_prediction import ContextPrediction, distance_to_hidden
from vjepa.objectives.hypotheses import HypothesisUsage, best_hypotheses, hypothesis_errors
from vjepa.objectives.latent_prediction import (
    Distance,
    LatentPrediction,
    latent_prediction_loss,
    normalized_targets,
)
from vjepa.objectives.pixel_prediction import PixelPrediction
from vjepa.objectives.projector import Projector
from vjepa.objectives.regularizer import Regularization, Regularizer
from vjepa.objectives.sigreg import SIGReg
from vjepa.objectives.term import ClipStep, ClipTerm, Objective, Step, Term, TermValue
from vjepa.objectives.variance_covariance import VarianceCovariance

__all__ = [
    "Agreement",
    "BarlowTwins",
    "ClipContrast",
    "ClipStep",
    "ClipTerm",
    "ContextPrediction",
    "Distance",
    "HypothesisUsage",
    "LatentPrediction",
    "Objective",
    "PixelPrediction",
    "Projector",
    "Regularization",
    "Regularizer",
    "SIGReg",
    "Step",
    "Term",
    "TermValue",
    "VarianceCovariance",
    "ViewAgreement",
    "best_hypotheses",
    "distance_to_hidden",
    "hypothesis_errors",
    "latent_prediction_loss",
    "normalized_targets",
]
