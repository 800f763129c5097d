"""The order of samples: one endless sequence of positions, cut into global batches and split over ranks.

With one source, position p holds row `permutation(seed, p // rows)[p % rows]` of its manifest: each pass holds every
row once, and a batch may straddle two passes, so no row is ever dropped. With several sources each has its own such
sequence, and a second permutation assigns positions to sources: blocks of positions hold each source as often as its
weight demands, in shuffled order. Rank r of R takes the r-th of R equal parts of each global batch, so R ranks
together see what one rank would.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float64, Int64
from torch.utils.data import Sampler

from vjepa.data.randomness import Purpose, generator_for

POSITIONS_PER_BLOCK = 10_000  # the resolution of weights
BATCHES_PER_BLOCK = 1_000
T = TypeVar("T")


class SampleKey(NamedTuple):
    """What a worker needs to read one sample."""

    position: int
    batch_position: int  # first position of the global batch: the seed of what its samples share


class RowOrder:
    """Rows of a manifest by index in the source's sequence; in listed order, pass after pass, with `shuffle=False`."""

    def __init__(self, num_rows: int, seed: int, shuffle: bool = True, source: int = 0):
        self.num_rows = num_rows
        self.seed = seed
        self.shuffle = shuffle
        self.source = source
        self._permutations: dict[int, np.ndarray] = {}  # the last two: a batch touches no more passes

    def row(self, index: int) -> int:
        epoch, index = divmod(index, self.num_rows)
        return int(self._permutation(epoch)[index]) if self.shuffle else index

    def _permutation(self, epoch: int) -> Int64[np.ndarray, " rows"]:
        if epoch not in self._permutations:
            drawn = generator_for(self.seed, Purpose.ORDER, epoch, self.source).permutation(self.num_rows)
            _add(self._permutations, epoch, drawn, size=2)
        return self._permutations[epoch]

    def replacement(self, position: int, attempt: int) -> int:
        """The row to try when `attempt` rows for this position could not be read."""
        generator = generator_for(self.seed, Purpose.REPLACEMENT, position, attempt)
        return int(generator.integers(self.num_rows))


def _add(cache: dict[int, T], key: int, value: T, size: int) -> None:
    if len(cache) == size:
        del cache[next(iter(cache))]  # the oldest
    cache[key] = value


class WeightedChoices:
    """An endless sequence of choices with exact weights in every block; random access in O(1).

    Each choice comes in a block as often as its weight demands (largest remainders, at least once), in an order
    shuffled by (seed, purpose, block, number).
    """

    def __init__(self, weights: Sequence[float], block_size: int, seed: int, purpose: Purpose, number: int = 0):
        self.block_size = block_size
        self.seed = seed
        self.purpose = purpose
        self.number = number
        self.counts = _apportioned(np.asarray(weights, float), block_size)
        self._blocks: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def at(self, index: int) -> tuple[int, int]:
        """The choice at an index, and how often it was chosen before."""
        block, offset = divmod(index, self.block_size)
        choices, before = self._block(block)
        choice = int(choices[offset])
        return choice, block * int(self.counts[choice]) + int(before[offset])

    def counts_before(self, index: int) -> Int64[np.ndarray, " choices"]:
        """How often each was chosen before this index."""
        block, offset = divmod(index, self.block_size)
        choices, _ = self._block(block)
        return block * self.counts + np.bincount(choices[:offset], minlength=len(self.counts))

    def _block(self, block: int) -> tuple[Int64[np.ndarray, " size"], Int64[np.ndarray, " size"]]:
        """The choices of a block, and how often each was chosen before in it."""
        if block in self._blocks:
            return self._blocks[block]
        choices = np.repeat(np.arange(len(self.counts)), self.counts)
        if len(self.counts) > 1:
            choices = generator_for(self.seed, self.purpose, block, self.number).permutation(choices)
        before = np.zeros(self.block_size, np.int64)
        for choice, count in enumerate(self.counts):
            before[choices == choice] = np.arange(count)
        _add(self._blocks, block, (choices, before), size=4)
        return choices, before


def _apportioned(weights: Float64[np.ndarray, " choices"], total: int) -> Int64[np.ndarray, " choices"]:
    exact = weights / weights.sum() * total
    counts: Int64[np.ndarray, " choices"] = np.maximum(1, np.floor(exact)).astype(np.int64)
    remainders = np.where(exact < 1, 0.0, exact - np.floor(exact))  # a count that was raised to one gets no more
    by_remainder = np.argsort(-remainders, kind="stable")
    counts[by_remainder[: max(0, total - counts.sum())]] += 1
    counts[np.argmax(counts)] -= max(0, counts.sum() - total)
    return counts


class MixtureOrder:
    """Source and row by position, for several sources. All positions of a global batch are of one group of sources.

    Args:
        orders: one per source.
        weights: proportion of samples from each source; equal if None.
        groups: group number of each source; sources with clips of one shape form a group. One group if None.
        batch_size: positions in a global batch.
    """

    def __init__(
        self,
        orders: Sequence[RowOrder],
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
        self._groups = WeightedChoices(group_weights, BATCHES_PER_BLOCK, seed, Purpose.GROUP_OF_BATCH)
        self._sources = [
            WeightedChoices([weights[k] for k in members], POSITIONS_PER_BLOCK, seed, Purpose.SOURCE_OF_CLIP, group)
            for group, members in enumerate(self._members)
        ]

    @property
    def num_groups(self) -> int:
        return len(self._members)

    def draw(self, position: int) -> tuple[int, int]:
        """The source at a position, and the row of its manifest."""
        batch, offset = divmod(position, self.batch_size)
        group, batches_before = self._groups.at(batch)
        choice, index = self._sources[group].at(batches_before * self.batch_size + offset)
        source = self._members[group][choice]
        return source, self.orders[source].row(index)

    def counts_before(self, position: int) -> Int64[np.ndarray, " sources"]:
        """How many earlier positions draw from each source."""
        batch, offset = divmod(position, self.batch_size)
        counts = np.zeros(len(self.orders), np.int64)
        batches = self._groups.counts_before(batch)
        for group, members in enumerate(self._members):
            extra = offset if offset and self._groups.at(batch)[0] == group else 0
            counts[members] += self._sources[group].counts_before(int(batches[group]) * self.batch_size + extra)
        return counts


class BatchSampler(Sampler[list[SampleKey]]):
    """This rank's part of each global batch.

    Args:
        batch_size: positions in a global batch.
        num_batches: of a whole epoch, which Lightning asks for; also `len`.
        remaining: gives, when iteration starts, the first position and the number of batches to come; the whole epoch
            from position 0 if None.
        rank, world_size: of this process, and how many there are.

    Raises:
        ValueError: `world_size` does not divide `batch_size`.
    """

    def __init__(
        self,
        batch_size: int,
        num_batches: int,
        remaining: Callable[[], tuple[int, int]] | None = None,
        rank: int = 0,
        world_size: int = 1,
    ):
        if batch_size % world_size:
            raise ValueError(f"{batch_size} files per batch can't be split over {world_size} ranks")
        self.batch_size = batch_size
        self.num_batches = num_batches
        self.remaining = remaining or (lambda: (0, num_batches))
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[SampleKey]]:
        start, num_batches = self.remaining()
        per_rank = self.batch_size // self.world_size
        for batch in range(num_batches):
            batch_position = start + batch * self.batch_size
            first = batch_position + self.rank * per_rank
            yield [SampleKey(position, batch_position) for position in range(first, first + per_rank)]
