"""Mask strategies: which tubelets are visible and which are predicted."""

from vjepa.masking.future import FutureFrames, future_mask
from vjepa.masking.multi_block import MultiBlockTubes
from vjepa.masking.next_frames import NextFrames, next_frames_mask
from vjepa.masking.random_drop import kept_tokens
from vjepa.masking.random_tubes import RandomTokens, RandomTubes
from vjepa.masking.reference_multi_block import ReferenceMultiBlockTubes
from vjepa.masking.tube_mask import MaskStrategy, TubeMask

__all__ = [
    "FutureFrames",
    "MaskStrategy",
    "MultiBlockTubes",
    "NextFrames",
    "RandomTokens",
    "RandomTubes",
    "ReferenceMultiBlockTubes",
    "TubeMask",
    "future_mask",
    "kept_tokens",
    "next_frames_mask",
]
