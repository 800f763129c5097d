"""What training minimises."""

from vjepa.objectives.clip_agreement import ClipAgreement
from vjepa.objectives.context_prediction import ContextPrediction, distance_to_hidden
from vjepa.objectives.latent_prediction import latent_prediction_loss, normalized_targets

__all__ = [
    "ClipAgreement",
    "ContextPrediction",
    "distance_to_hidden",
    "latent_prediction_loss",
    "normalized_targets",
]
