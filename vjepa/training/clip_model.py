"""ClipModel: models that train a video encoder on clips."""

from jaxtyping import Float
from torch import Tensor

from vjepa.data.clips.batch import ClipBatch, normalize_clips
from vjepa.interop.run_folder import EncoderName
from vjepa.models import VideoEncoder
from vjepa.training.scheduled_module import ScheduledModule


class ClipModel(ScheduledModule):
    """Subclasses implement `step`, `trained_parts` and `get_encoder`."""

    def get_encoder(self, name: EncoderName) -> VideoEncoder:
        """The "context" encoder, or the "target" encoder, with which features are extracted."""
        raise NotImplementedError

    def predict_step(self, batch: ClipBatch, batch_idx: int) -> Float[Tensor, "B N D"]:
        """Tokens of whole clips by the target encoder."""
        return self.get_encoder("target")(normalize_clips(batch.clips))
