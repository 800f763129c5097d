"""Titles, sentences and colour scales on pictures."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

Picture = UInt8[np.ndarray, "rows columns 3"]

LEAST_WIDTH = 420  # pixels, for a line of text
SIZE, LINE = 13, 17  # of letters and lines
MARGIN = 4
SWATCH = 12


class Swatch(NamedTuple):
    """A colour and what it means."""

    colour: tuple[int, int, int]
    meaning: str


class Scale(NamedTuple):
    """Colours from a low to a high value, from left to right."""

    colours: UInt8[np.ndarray, "n 3"]
    low: str
    high: str


def captioned(
    picture: Picture,
    title: str,
    sentences: Sequence[str] = (),
    swatches: Sequence[Swatch] = (),
    scale: Scale | None = None,
) -> UInt8[np.ndarray, "more_rows more_columns 3"]:
    """A picture under its title, and over sentences and the meaning of its colours. White is added at the right."""
    width = max(picture.shape[1], LEAST_WIDTH)
    wide = np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=255)
    parts = [text_bar(title, width), wide]
    parts += [text_bar(each, width, grey=True) for each in sentences]
    if swatches:
        parts.append(_swatch_bar(swatches, width))
    if scale is not None:
        parts.append(_scale_bar(scale, width))
    return np.concatenate(parts)


def text_bar(text: str, width: int, grey: bool = False) -> Picture:
    """Text on white, in as many lines as it needs."""
    font = _font()
    lines, room = [""], width - 2 * MARGIN
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= room or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    image = Image.new("RGB", (width, LINE * len(lines) + MARGIN), "white")
    drawing = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        drawing.text((MARGIN, LINE * number + 1), line, "#666666" if grey else "black", font)
    return np.asarray(image)


def _swatch_bar(swatches: Sequence[Swatch], width: int) -> Picture:
    """Swatches with their meanings, in rows that fit."""
    font, places, x, row = _font(), [], MARGIN, 0
    for swatch in swatches:
        needed = SWATCH + 5 + round(font.getlength(swatch.meaning)) + 14
        if x > MARGIN and x + needed > width:
            x, row = MARGIN, row + 1
        places.append((x, row * LINE))
        x += needed
    image = Image.new("RGB", (width, LINE * (row + 1) + MARGIN), "white")
    drawing = ImageDraw.Draw(image)
    for (x, y), swatch in zip(places, swatches, strict=True):
        drawing.rectangle((x, y + 3, x + SWATCH, y + 3 + SWATCH), swatch.colour, "#999999")
        drawing.text((x + SWATCH + 5, y + 1), swatch.meaning, "#666666", font)
    return np.asarray(image)


def _scale_bar(scale: Scale, width: int) -> Picture:
    font, length = _font(), 120
    image = Image.new("RGB", (width, LINE + MARGIN), "white")
    drawing = ImageDraw.Draw(image)
    drawing.text((MARGIN, 1), scale.low, "#666666", font)
    start = MARGIN + round(font.getlength(scale.low)) + 6
    strip = Image.fromarray(scale.colours[None]).resize((length, SWATCH), Image.Resampling.BILINEAR)
    image.paste(strip, (start, 3))
    drawing.text((start + length + 6, 1), scale.high, "#666666", font)
    return np.asarray(image)


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(SIZE)
