"""Randomness as arithmetic: every random choice is a function of (seed, what for, position in the run).

So it depends on no worker, rank, process history or clock: a resumed run repeats an unbroken one, and the number of
workers or ranks changes nothing.
"""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a generator is for: two purposes never share random numbers. Never renumber: runs would not resume."""

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


def generator_for(seed: int, purpose: Purpose, *place: int) -> np.random.Generator:
    """The generator for one purpose at one place of the run."""
    return np.random.default_rng((seed, int(purpose), *place))
