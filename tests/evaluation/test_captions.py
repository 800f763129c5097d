"""Captions leave the picture as it is and say all of their words."""

import numpy as np
import pytest

from vjepa.evaluation.captions import LEAST_WIDTH, LINE, MARGIN, Scale, Swatch, captioned, text_bar

PICTURE = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)


def test_a_picture_is_whole_below_its_title():
    drawn = captioned(PICTURE, "title")
    top = LINE + MARGIN
    assert drawn.shape == (top + 20, LEAST_WIDTH, 3)
    assert np.array_equal(drawn[top : top + 20, :30], PICTURE)
    assert (drawn[top:, 30:] == 255).all() and (drawn[:top] < 128).any()


def test_long_text_is_broken_into_lines_and_not_cut():
    short, long = text_bar("word", 200), text_bar("word " * 30, 200)
    assert len(long) > 3 * LINE and len(short) == LINE + MARGIN
    assert (long[:, -1] == 255).all()  # no letter touches the edge


@pytest.mark.parametrize("part", ["swatch", "scale"])
def test_colours_are_shown_with_their_meaning(part):
    red = np.array([[200, 10, 20]], np.uint8)
    swatches = [Swatch((200, 10, 20), "hidden")] if part == "swatch" else []
    drawn = captioned(PICTURE, "t", swatches=swatches, scale=Scale(red, "0", "1") if part == "scale" else None)
    below = drawn[LINE + MARGIN + 20 :]
    assert (below == red).all(-1).sum() > 100
