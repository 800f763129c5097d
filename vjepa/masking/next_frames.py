"""Every frame is predicted from those before it, in one pass."""

from collections.abc import Sequence

import numpy as np
import torch

from vjepa.grid import TokenGrid
from vjepa.masking.tube_mask import TubeMask


class NextFrames:
    """See all frames of tokens but the last, and predict each from those before it, after the first few.

    The only strategy whose two sets overlap: a token is hidden from the predictions of its own frame and of earlier
    ones, and seen by those of later frames. So it needs networks that look back alone: a predictor with `memory_width`
    and a depth of 0, and an encoder with `per_frame` or causal attention.

    Args:
        context_frames: frames of tokens that are not predicted, from the clip's start.
    """

    def __init__(self, context_frames: int = 1):
        if context_frames < 1:
            raise ValueError(f"context_frames ({context_frames}) must be at least 1")
        self.context_frames = context_frames

    def __call__(
        self,
        grid: TokenGrid,
        batch_generator: np.random.Generator,
        clip_generators: Sequence[np.random.Generator],
    ) -> TubeMask:
        return next_frames_mask(grid, self.context_frames, len(clip_generators))


def next_frames_mask(grid: TokenGrid, context_frames: int = 1, num_clips: int = 1) -> TubeMask:
    """The same mask for each clip. Raises ValueError where nothing is left to predict."""
    if context_frames >= grid.frames:
        raise ValueError(
            f"context_frames ({context_frames}) must be fewer than the {grid.frames} frames of tokens that a clip has; "
            f"use longer clips"
        )
    ids = torch.arange(grid.num_tokens).expand(num_clips, -1)
    plane = grid.height * grid.width
    return TubeMask(ids[:, :-plane].contiguous(), ids[:, context_frames * plane :].contiguous())
