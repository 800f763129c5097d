"""What a mask is: the tokens that the context encoder sees, and those that the predictor must guess."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64
from torch import Tensor

from vjepa.grid import TokenGrid


class TubeMask(NamedTuple):
    """One mask for each clip of a batch; ids ascend, the two sets never overlap, counts are equal over the batch."""

    context_ids: Int64[Tensor, "B Nc"]
    target_ids: Int64[Tensor, "B Nt"]


@runtime_checkable
class MaskStrategy(Protocol):
    """Draws the masks of a batch. What must be equal for all clips (sizes, counts) is drawn from the batch's generator,
    what is a clip's own (places) from the clip's: so a clip's mask does not depend on which rank it is on."""

    def __call__(
        self,
        grid: TokenGrid,
        batch_generator: np.random.Generator,
        clip_generators: Sequence[np.random.Generator],  # one per clip
    ) -> TubeMask: ...


def check_room_for_mask(grid: TokenGrid, num_blocks: int) -> None:
    """Raise ValueError where a grid can't hold both context and target tokens of such a mask."""
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
