"""Which clip comes when: one endless sequence of positions, cut into global batches, shared out over ranks.

Position p shows row `permutation(seed, p // rows)[p % rows]` of the manifest: each pass shows every row once, and a
batch may straddle two passes, so no row is ever dropped. Rank r of R takes the r-th of R equal parts of each global
batch, so R ranks together see what one rank would.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from vjepa.data.randomness import Purpose, generator_for


class ClipKey(NamedTuple):
    """What a worker needs to make one clip of a batch."""

    position: int
    batch_position: int  # the first position of the global batch: keys what all its clips share
    next_position: int  # the first position of the next global batch


class ClipOrder:
    """Rows of a manifest by position; `shuffle=False` shows them as listed, pass after pass."""

    def __init__(self, num_rows: int, seed: int, shuffle: bool = True):
        self.num_rows = num_rows
        self.seed = seed
        self.shuffle = shuffle
        self._permutation = lru_cache(maxsize=2)(self._draw_permutation)  # a batch touches at most two passes

    def row(self, position: int, attempt: int = 0) -> int:
        """The row at a position; attempt k > 0 is its k-th replacement where the rows before could not be read."""
        if attempt:
            return int(generator_for(self.seed, Purpose.REPLACEMENT, position, attempt).integers(self.num_rows))
        sweep, place = divmod(position, self.num_rows)
        return int(self._permutation(sweep)[place]) if self.shuffle else place

    def _draw_permutation(self, sweep: int) -> np.ndarray:
        return generator_for(self.seed, Purpose.ORDER, sweep).permutation(self.num_rows)

    def __getstate__(self) -> dict[str, object]:  # the cache stays behind when workers are spawned
        return {"num_rows": self.num_rows, "seed": self.seed, "shuffle": self.shuffle}

    def __setstate__(self, state: dict) -> None:
        self.__init__(**state)  # type: ignore[misc]


class BatchSampler(Sampler[list[ClipKey]]):
    """This rank's share of each global batch, from a position that is asked for when iteration starts.

    `remaining` gives, at that time, the first position and how many batches the current epoch still has; `len` is the
    whole epoch's number of batches, as Lightning counts them.
    """

    def __init__(
        self,
        global_batch_size: int,
        num_batches: int,
        remaining: Callable[[], tuple[int, int]],
        rank: int = 0,
        world_size: int = 1,
    ):
        if global_batch_size % world_size:
            raise ValueError(
                f"global_batch_size ({global_batch_size}) must be a multiple of the number of ranks ({world_size}); "
                f"try {-(-global_batch_size // world_size) * world_size}"
            )
        self.global_batch_size = global_batch_size
        self.num_batches = num_batches
        self.remaining = remaining
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[ClipKey]]:
        start, num_batches = self.remaining()
        share = self.global_batch_size // self.world_size
        for batch in range(num_batches):
            batch_position = start + batch * self.global_batch_size
            first = batch_position + self.rank * share
            next_position = batch_position + self.global_batch_size
            yield [ClipKey(position, batch_position, next_position) for position in range(first, first + share)]
