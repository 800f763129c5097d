"""Networks of tensors to tensors."""

from vjepa.models.attentive_probe import AttentiveProbe
from vjepa.models.dynamics.action_predictor import ActionPredictor
from vjepa.models.ema import frozen_copy, update_ema
from vjepa.models.encoder import VideoEncoder, encode_levels, encode_masks
from vjepa.models.position import PositionKind
from vjepa.models.predictor import Predictor
from vjepa.models.sizes import OUTPUT_LEVELS, SIZES, EncoderSize

__all__ = [
    "OUTPUT_LEVELS",
    "SIZES",
    "ActionPredictor",
    "AttentiveProbe",
    "EncoderSize",
    "PositionKind",
    "Predictor",
    "VideoEncoder",
    "encode_levels",
    "encode_masks",
    "frozen_copy",
    "update_ema",
]
