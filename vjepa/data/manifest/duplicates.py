"""Near-duplicates among many videos, by the perceptual hash of three of their frames."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

BITS = 192
BANDS = 12  # of 16 bits; two hashes that differ in fewer bits than there are bands share at least one band
LARGEST_BUCKET = 200  # files that share a band; more are not compared pair by pair


def near_duplicates(
    looks: Sequence[np.ndarray | None],  # each (3, 8) uint8
    max_distance: int = BANDS - 1,  # bits of 192
) -> list[tuple[int, int, int]]:
    """Pairs (first, second, differing bits), first < second. Pairs up to 11 bits apart are found, unless their
    bands are shared by more than LARGEST_BUCKET files."""
    known = [number for number, look in enumerate(looks) if look is not None]
    if not known:
        return []
    bits = np.stack([looks[number].reshape(-1) for number in known])  # type: ignore[union-attr] # (n, 24) uint8
    pairs: dict[tuple[int, int], int] = {}
    for members in _sharing_a_band(bits):
        distances = np.bitwise_count(bits[members][:, None] ^ bits[members][None]).sum(axis=-1)
        for a, b in zip(*np.nonzero(np.triu(distances <= max_distance, k=1)), strict=True):
            pairs[known[members[a]], known[members[b]]] = int(distances[a, b])
    return sorted((*pair, distance) for pair, distance in pairs.items())


def _sharing_a_band(bits: np.ndarray) -> Iterator[list[int]]:
    bands = bits.reshape(len(bits), BANDS, BITS // BANDS // 8)
    for band in range(BANDS):
        buckets: dict[bytes, list[int]] = defaultdict(list)
        for number, key in enumerate(bands[:, band]):
            buckets[key.tobytes()].append(number)
        for members in buckets.values():
            # A very common band says little: its members are compared with their neighbours in the list only.
            for first in range(0, len(members), LARGEST_BUCKET):
                if len(members) > 1:
                    yield members[first : first + LARGEST_BUCKET]
