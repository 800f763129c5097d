"""Random token dropping (LeVJEPA, arXiv 2608.27395): each view of a clip keeps its own few tokens.

Unlike a mask this hides nothing that is predicted: tokens that a view lacks are simply not encoded.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from vjepa.grid import TokenGrid


def kept_tokens(
    grid: TokenGrid,
    keep_ratio: float,
    clip_generators: Sequence[np.random.Generator],
    views_per_clip: int = 1,
) -> Int64[Tensor, "B_V K"]:
    """Ascending ids of the tokens that each view keeps, at least one; V consecutive rows belong to one clip.

    Every set of ids is equally likely. A view's tokens do not depend on how many views follow it.
    """
    num_tokens = grid.num_tokens
    num_kept = max(1, round(keep_ratio * num_tokens))
    num_drawn = min(num_kept, num_tokens - num_kept)  # those that are dropped, where they are fewer
    shape = views_per_clip, num_drawn
    uniform = np.concatenate([generator.random(shape) for generator in clip_generators])  # (B_V, num_drawn)
    views = np.arange(len(uniform))
    drawn = np.zeros((len(uniform), num_tokens), bool)
    # Floyd's sampling without replacement (CACM 30(9), 1987), for all views at once.
    for number, last in enumerate(range(num_tokens - num_drawn, num_tokens)):
        choice = (uniform[:, number] * (last + 1)).astype(np.int64)
        drawn[views, np.where(drawn[views, choice], last, choice)] = True
    kept = drawn if num_drawn == num_kept else ~drawn
    return torch.from_numpy(np.nonzero(kept)[1].reshape(-1, num_kept))
