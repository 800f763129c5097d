"""Random masks: tokens dropped one by one, as tubes over all frames or anywhere.

Tubes are VideoMAE's (arXiv 2203.12602); LeVJEPA (arXiv 2608.27395) drops 95 % of the tokens. Every set of
positions of the right size is equally likely, so coverage is even, and every token is either context or target.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int64

from vjepa.grid import TokenGrid
from vjepa.masking.tube_mask import TubeMask, check_room_for_mask


class RandomTubes:
    """Hide `mask_ratio` of the positions in a frame, the same in all frames; at least one is hidden and one visible."""

    def __init__(self, mask_ratio: float = 0.75):
        check_mask_ratio(mask_ratio)
        self.mask_ratio = mask_ratio

    def __call__(
        self,
        grid: TokenGrid,
        batch_generator: np.random.Generator,
        clip_generators: Sequence[np.random.Generator],
    ) -> TubeMask:
        check_room_for_mask(grid, num_blocks=1)
        tokens_per_frame = grid.height * grid.width
        context, target = random_split(tokens_per_frame, self.mask_ratio, clip_generators)
        frames = np.arange(grid.frames)[:, None] * tokens_per_frame
        return TubeMask(*(torch.from_numpy((frames + ids[:, None]).reshape(len(ids), -1)) for ids in (context, target)))


class RandomTokens:
    """Hide `mask_ratio` of the tokens, anywhere in the clip; at least one is hidden and one visible."""

    def __init__(self, mask_ratio: float = 0.75):
        check_mask_ratio(mask_ratio)
        self.mask_ratio = mask_ratio

    def __call__(
        self,
        grid: TokenGrid,
        batch_generator: np.random.Generator,
        clip_generators: Sequence[np.random.Generator],
    ) -> TubeMask:
        if grid.num_tokens < 2:
            raise ValueError("a mask needs at least 2 tokens, this clip has 1; use longer or larger clips")
        ids = random_split(grid.num_tokens, self.mask_ratio, clip_generators)
        return TubeMask(*(torch.from_numpy(part) for part in ids))


def random_split(
    num_ids: int, mask_ratio: float, clip_generators: Sequence[np.random.Generator]
) -> tuple[Int64[np.ndarray, "B Nc"], Int64[np.ndarray, "B Nt"]]:
    """Visible and hidden ids of each clip, ascending: a random split of 0 to `num_ids` - 1."""
    num_hidden = min(max(1, round(mask_ratio * num_ids)), num_ids - 1)
    order = np.stack([generator.permutation(num_ids) for generator in clip_generators])
    return np.sort(order[:, num_hidden:]), np.sort(order[:, :num_hidden])


def check_mask_ratio(mask_ratio: float) -> None:
    """Raise ValueError for a ratio that hides nothing or all."""
    if not 0 < mask_ratio < 1:
        raise ValueError(f"mask_ratio ({mask_ratio}) of the tokens to hide must lie between 0 and 1")
