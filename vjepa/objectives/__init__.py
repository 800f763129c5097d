"""What training minimises, as functions of tensors."""

from vjepa.objectives.latent_prediction import latent_prediction_loss, normalized_targets

__all__ = ["latent_prediction_loss", "normalized_targets"]
