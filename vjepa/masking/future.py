"""The past is context, the future is hidden: prediction over time, and surprise (arXiv 2502.11831).

A window of tubelet frames is seen up to some moment and predicted from there. Coverage is even over space and, on
purpose, not over time: the first frames are never predicted, the last ones never seen.
"""

from collections.abc import Sequence

import numpy as np
import torch

from vjepa.grid import TokenGrid
from vjepa.masking.tube_mask import TubeMask


class FutureFrames:
    """See the first frames of tokens and predict the following ones; how many are seen is drawn for each batch.

    Args:
        context_frames: range (least, most) of the frames of tokens that are seen, both included, equally likely.
        predicted_frames: frames of tokens to predict after them; all that follow if None.
    """

    def __init__(self, context_frames: tuple[int, int] = (1, 1), predicted_frames: int | None = None):
        least, most = context_frames
        if not 1 <= least <= most:
            raise ValueError(f"context_frames ({least}, {most}) must be a range (least, most) with 1 <= least <= most")
        self.context_frames = (least, most)
        self.predicted_frames = predicted_frames

    def __call__(
        self,
        grid: TokenGrid,
        batch_generator: np.random.Generator,
        clip_generators: Sequence[np.random.Generator],
    ) -> TubeMask:
        least, most = self.context_frames
        future_mask(grid, most, self.predicted_frames)  # the longest context must fit, whatever is drawn
        drawn = int(batch_generator.integers(least, most + 1))
        return future_mask(grid, drawn, self.predicted_frames, len(clip_generators))


def future_mask(
    grid: TokenGrid,
    context_frames: int,  # frames of tokens that are seen
    predicted_frames: int | None = None,  # that follow; all if None
    num_clips: int = 1,
) -> TubeMask:
    """The same mask for each clip. Raises ValueError where context and prediction do not fit into the grid."""
    future = grid.frames - context_frames if predicted_frames is None else predicted_frames
    if context_frames < 1 or future < 1 or context_frames + future > grid.frames:
        raise ValueError(
            f"context_frames ({context_frames}) and predicted_frames ({future}) must each be at least 1 and together "
            f"at most the {grid.frames} frames of tokens that a clip has; use longer clips or fewer frames"
        )
    ids = torch.arange((context_frames + future) * grid.height * grid.width).expand(num_clips, -1)
    context, target = ids.tensor_split([context_frames * grid.height * grid.width], dim=1)
    return TubeMask(context.contiguous(), target.contiguous())
