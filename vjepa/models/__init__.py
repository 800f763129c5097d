"""Networks: tensors in, tensors out."""

from vjepa.models.attentive_probe import AttentiveProbe
from vjepa.models.ema import frozen_copy, update_ema
from vjepa.models.encoder import VideoEncoder
from vjepa.models.position import PositionKind
from vjepa.models.predictor import Predictor
from vjepa.models.sizes import SIZES, EncoderSize

__all__ = [
    "SIZES",
    "AttentiveProbe",
    "EncoderSize",
    "PositionKind",
    "Predictor",
    "VideoEncoder",
    "frozen_copy",
    "update_ema",
]
