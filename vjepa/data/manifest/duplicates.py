"""Near-duplicates among many videos, by perceptual hashes of three of their frames."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

BITS = 192
BANDS = 12  # of 16 bits; two hashes that differ in fewer bits than there are bands share at least one band
LARGEST_BUCKET = 200  # files that share a band; more are not compared pair by pair
FLAT = 4.0  # grey levels: a frame with a smaller standard deviation does not identify a video
SLOWEST_WAVES = sorted(((i, j) for i in range(12) for j in range(12)), key=sum)[1:65]  # without the mean


def perceptual_hash(frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "8"] | None:
    """Signs of the 64 lowest frequencies, which scaling and coding hardly change; None for a flat frame."""
    grey = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    if grey.std() < FLAT:
        return None
    waves = cv2.dct(grey.astype(np.float32))
    return np.packbits([waves[row, column] > 0 for row, column in SLOWEST_WAVES])


def near_duplicates(
    hashes: Sequence[UInt8[np.ndarray, "3 8"] | None], max_distance: int = BANDS - 1
) -> list[tuple[int, int, int]]:
    """Pairs (first, second, differing bits), first < second. Pairs up to 11 bits apart are found, unless their
    bands are shared by more than LARGEST_BUCKET files."""
    known = {index: each.reshape(-1) for index, each in enumerate(hashes) if each is not None}
    if not known:
        return []
    indices, bits = list(known), np.stack(list(known.values()))  # (n, 24)
    pairs: dict[tuple[int, int], int] = {}
    for members in _sharing_a_band(bits):
        distances = np.bitwise_count(bits[members][:, None] ^ bits[members][None]).sum(axis=-1)
        for a, b in zip(*np.nonzero(np.triu(distances <= max_distance, k=1)), strict=True):
            pairs[indices[members[a]], indices[members[b]]] = int(distances[a, b])
    return sorted((*pair, distance) for pair, distance in pairs.items())


def _sharing_a_band(bits: UInt8[np.ndarray, "n 24"]) -> Iterator[list[int]]:
    bands = bits.reshape(len(bits), BANDS, BITS // BANDS // 8)
    for band in range(BANDS):
        buckets: dict[bytes, list[int]] = defaultdict(list)
        for index, key in enumerate(bands[:, band]):
            buckets[key.tobytes()].append(index)
        for members in buckets.values():
            # A very common band means little: its members are compared with their neighbours in the list only.
            for first in range(0, len(members), LARGEST_BUCKET):
                if len(members) > 1:
                    yield members[first : first + LARGEST_BUCKET]
