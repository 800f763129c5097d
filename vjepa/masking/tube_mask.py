"""Tube masks: the tokens that the context encoder sees, and those that the predictor predicts."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64
from torch import Tensor

from vjepa.grid import TokenGrid


class TubeMask(NamedTuple):
    """One mask for each clip of a batch; ids ascend, counts are equal over the batch.

    The two sets never overlap, but in masks of `NextFrames`.
    """

    context_ids: Int64[Tensor, "B Nc"]
    target_ids: Int64[Tensor, "B Nt"]


@runtime_checkable
class MaskStrategy(Protocol):
    """Draws the masks of a batch.

    Sizes and counts, equal for all clips, come from the batch's generator, and positions from the clip's, so that a
    clip's mask does not depend on its rank.
    """

    def __call__(
        self,
        grid: TokenGrid,
        batch_generator: np.random.Generator,
        clip_generators: Sequence[np.random.Generator],  # one per clip
    ) -> TubeMask: ...


def check_room_for_mask(grid: TokenGrid, num_blocks: int) -> None:
    """Raise ValueError where a grid is too small for both context and target tokens."""
    tokens_per_frame = grid.height * grid.width
    if tokens_per_frame < 2:
        raise ValueError(
            f"a tube mask needs at least 2 tokens per frame, this clip has {tokens_per_frame} "
            f"(token grid {grid.frames}x{grid.height}x{grid.width}); use larger clips or smaller patches"
        )
    if num_blocks > tokens_per_frame:
        raise ValueError(
            f"num_blocks ({num_blocks}) must be at most the number of tokens per frame ({tokens_per_frame}); "
            f"use fewer blocks, larger clips or smaller patches"
        )
