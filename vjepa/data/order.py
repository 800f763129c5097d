"""Which clip comes when: one endless sequence of positions, cut into global batches, shared out over ranks.

With one source, position p shows row `permutation(seed, p // rows)[p % rows]` of its manifest: each pass shows every
row once, and a batch may straddle two passes, so no row is ever dropped. With several sources each has such a sequence
of its own, and a second arithmetic says which source a position draws from: blocks of positions hold each source as
often as its weight asks, in a shuffled order. Rank r of R takes the r-th of R equal parts of each global batch, so R
ranks together see what one rank would.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from vjepa.data.randomness import Purpose, generator_for

POSITIONS_PER_BLOCK = 10_000  # weights are kept to one part in so many
BATCHES_PER_BLOCK = 1_000


class ClipKey(NamedTuple):
    """What a worker needs to make the clips of one file for a batch."""

    position: int
    batch_position: int  # the first position of the global batch: keys what all its clips share
    next_position: int  # the first position of the next global batch


class ClipOrder:
    """Rows of a manifest by place in its own sequence; `shuffle=False` shows them as listed, pass after pass."""

    def __init__(self, num_rows: int, seed: int, shuffle: bool = True, source: int = 0):
        self.num_rows = num_rows
        self.seed = seed
        self.shuffle = shuffle
        self.source = source
        self._permutation = lru_cache(maxsize=2)(self._draw_permutation)  # a batch touches at most two passes

    def row(self, place: int) -> int:
        sweep, place = divmod(place, self.num_rows)
        return int(self._permutation(sweep)[place]) if self.shuffle else place

    def replacement(self, position: int, attempt: int) -> int:
        """The row that is tried in the attempt-th place where those before could not be read."""
        generator = generator_for(self.seed, Purpose.REPLACEMENT, position, attempt)
        return int(generator.integers(self.num_rows))

    def _draw_permutation(self, sweep: int) -> np.ndarray:
        return generator_for(self.seed, Purpose.ORDER, sweep, self.source).permutation(self.num_rows)

    def __getstate__(self) -> dict[str, object]:  # the cache stays behind when workers are spawned
        return {"num_rows": self.num_rows, "seed": self.seed, "shuffle": self.shuffle, "source": self.source}

    def __setstate__(self, state: dict) -> None:
        self.__init__(**state)  # type: ignore[misc]


class Apportionment:
    """An endless sequence of choices that keeps to given weights in every block of so many; O(1) in its place.

    Each choice comes as often in a block as its weight asks (largest remainders, at least once), in an order that is
    shuffled by (seed, purpose, block).
    """

    def __init__(self, weights: Sequence[float], block_size: int, seed: int, purpose: Purpose, number: int = 0):
        self.block_size = block_size
        self.seed = seed
        self.purpose = purpose
        self.number = number
        self.counts = _shares(np.asarray(weights, float), block_size)
        self._block = lru_cache(maxsize=4)(self._draw_block)

    def at(self, place: int) -> tuple[int, int]:
        """The choice at a place, and how often it was chosen before."""
        block, inside = divmod(place, self.block_size)
        choices, before = self._block(block)
        choice = int(choices[inside])
        return choice, block * int(self.counts[choice]) + int(before[inside])

    def before(self, place: int) -> np.ndarray:  # (choices,) int64
        """How often each was chosen at places before this one."""
        block, inside = divmod(place, self.block_size)
        choices, _ = self._block(block)
        return block * self.counts + np.bincount(choices[:inside], minlength=len(self.counts))

    def _draw_block(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        choices = np.repeat(np.arange(len(self.counts)), self.counts)
        if len(self.counts) > 1:
            choices = generator_for(self.seed, self.purpose, block, self.number).permutation(choices)
        before = np.zeros(self.block_size, np.int64)
        for choice, count in enumerate(self.counts):
            before[choices == choice] = np.arange(count)
        return choices, before

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_block"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._block = lru_cache(maxsize=4)(self._draw_block)


def _shares(weights: np.ndarray, total: int) -> np.ndarray:  # int64, sums to total
    exact = weights / weights.sum() * total
    shares = np.maximum(1, np.floor(exact)).astype(np.int64)
    remainders = np.where(exact < 1, 0.0, exact - np.floor(exact))  # what was raised to one has its share
    by_remainder = np.argsort(-remainders, kind="stable")
    shares[by_remainder[: max(0, total - shares.sum())]] += 1
    shares[np.argmax(shares)] -= max(0, shares.sum() - total)
    return shares


class MixtureOrder:
    """Source and row by position, over several sources; all positions of a global batch are of one group of sources.

    Args:
        orders: of each source.
        weights: shares of the clips that come from each source; equal ones if None.
        groups: a number for each source; sources whose clips have one shape share it, as all do if None.
        batch_size: positions in a global batch.
    """

    def __init__(
        self,
        orders: Sequence[ClipOrder],
        weights: Sequence[float] | None = None,
        groups: Sequence[int] | None = None,
        batch_size: int = 1,
    ):
        seed = orders[0].seed
        weights = [1.0] * len(orders) if weights is None else weights
        groups = [0] * len(orders) if groups is None else groups
        self.orders = list(orders)
        self.batch_size = batch_size
        self._members = [[k for k, of in enumerate(groups) if of == group] for group in range(max(groups) + 1)]
        group_weights = [sum(weights[k] for k in members) for members in self._members]
        self._groups = Apportionment(group_weights, BATCHES_PER_BLOCK, seed, Purpose.GROUP_OF_BATCH)
        self._sources = [
            Apportionment([weights[k] for k in members], POSITIONS_PER_BLOCK, seed, Purpose.SOURCE_OF_CLIP, group)
            for group, members in enumerate(self._members)
        ]

    @property
    def num_groups(self) -> int:
        return len(self._members)

    def draw(self, position: int) -> tuple[int, int]:
        """Number of the source at a position, and the row of its manifest."""
        batch, inside = divmod(position, self.batch_size)
        group, batches_before = self._groups.at(batch)
        choice, place = self._sources[group].at(batches_before * self.batch_size + inside)
        source = self._members[group][choice]
        return source, self.orders[source].row(place)

    def drawn_before(self, position: int) -> np.ndarray:  # (sources,) int64
        """How many positions before this one drew from each source."""
        batch, inside = divmod(position, self.batch_size)
        counts = np.zeros(len(self.orders), np.int64)
        batches = self._groups.before(batch)
        for group, members in enumerate(self._members):
            extra = inside if inside and self._groups.at(batch)[0] == group else 0
            counts[members] += self._sources[group].before(int(batches[group]) * self.batch_size + extra)
        return counts


class BatchSampler(Sampler[list[ClipKey]]):
    """This rank's share of each global batch, from a position that is asked for when iteration starts.

    `batch_size` is the number of files in a global batch; the number of ranks must divide it, or ValueError is raised.
    `remaining` gives, at that time, the first position and how many batches the current epoch still has; `len` is the
    whole epoch's number of batches, as Lightning counts them.
    """

    def __init__(
        self,
        batch_size: int,
        num_batches: int,
        remaining: Callable[[], tuple[int, int]],
        rank: int = 0,
        world_size: int = 1,
    ):
        if batch_size % world_size:
            raise ValueError(f"{batch_size} files per batch can't be shared out over {world_size} ranks")
        self.batch_size = batch_size
        self.num_batches = num_batches
        self.remaining = remaining
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[ClipKey]]:
        start, num_batches = self.remaining()
        share = self.batch_size // self.world_size
        for batch in range(num_batches):
            batch_position = start + batch * self.batch_size
            first = batch_position + self.rank * share
            next_position = batch_position + self.batch_size
            yield [ClipKey(position, batch_position, next_position) for position in range(first, first + share)]
