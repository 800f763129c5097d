"""A mark for tests of decord itself, and of pixels that only its path crops and resizes in exactly one way."""

import pytest

from vjepa.data.video.decord_reader import DecordReader

needs_decord = pytest.mark.skipif(DecordReader().missing() is not None, reason="decord has no wheel for this machine")
