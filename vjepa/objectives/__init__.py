"""What training minimises."""

from vjepa.objectives.clip_agreement import ClipAgreement
from vjepa.objectives.latent_prediction import latent_prediction_loss, normalized_targets

__all__ = ["ClipAgreement", "latent_prediction_loss", "normalized_targets"]
