"""A generator follows from its numbers alone."""

import numpy as np
import pytest

from vjepa.data.randomness import Purpose, generator_for


@pytest.mark.parametrize("position", [(), (0,), (3, 7), (2**32 - 1,), (2**32,), (5 + (1 << 48), 1)])
def test_a_generator_is_that_of_the_numbers_as_they_are(position):
    ours = generator_for(9, Purpose.MASK_OF_CLIP, *position)
    plain = np.random.default_rng((9, int(Purpose.MASK_OF_CLIP), *position))
    assert ours.random(8).tolist() == plain.random(8).tolist()
