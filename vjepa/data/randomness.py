"""Every random choice is a function of (seed, purpose, position in the run).

It does not depend on workers, ranks, process history or the clock, so a resumed run repeats an unbroken one.
"""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """Two purposes never share random numbers. Never renumber: runs would not resume."""

    ORDER = 0
    REPLACEMENT = 1
    CLIP = 2
    MASK_OF_BATCH = 3
    MASK_OF_CLIP = 4
    GROUP_OF_BATCH = 5
    SOURCE_OF_CLIP = 6
    LABELLED_ROWS = 7
    ORDER_OF_FEATURES = 8
    BOOTSTRAP = 9
    TEMPORAL_TASK = 10
    TASK = 11
    WORLD = 12
    BEHAVIOUR = 13
    WINDOW = 14
    PLAN = 15
    PAIR = 16
    VIEW = 17
    TOKENS_OF_VIEW = 18
    CROP_OF_VIEW = 19
    UNLABELLED_ROWS = 20


def generator_for(seed: int, purpose: Purpose, *position: int) -> np.random.Generator:
    key = (seed, int(purpose), *position)
    # NumPy splits numbers into words of 32 bits; an array of words is the same and takes two thirds of the time.
    words = np.array(key, dtype=np.uint32) if min(key) >= 0 and max(key) < 2**32 else key
    return np.random.default_rng(words)
