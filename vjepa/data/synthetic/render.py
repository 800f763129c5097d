"""Pictures and object masks of the synthetic world: analytic, anti-aliased shapes, all frames of a clip at once."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vjepa.data.synthetic.world import Ground, Occluder, Shape, WorldState

OCCLUDER_ID = 255

Floats = NDArray[np.floating[Any]]  # float32 in fact
Bytes = NDArray[np.uint8]


def render(
    states: Sequence[WorldState],  # T states of one frame size
) -> tuple[Bytes, Bytes]:  # frames (T, H, W, 3) RGB 0-255, object masks (T, H, W)
    """Draw every state. In the masks 0 is background, k is the visible part of the k-th shape, 255 is an occluder."""
    size = states[0].size
    assert all(state.size == size for state in states), "the states of one clip share one frame size"
    # Colours first: NumPy is fast on long last axes.
    canvas = np.empty((3, len(states), size, size), np.float32)
    masks = np.zeros((len(states), size, size), np.uint8)

    for frames in group_equal([state.ground.grain for state in states]):
        paint_ground(canvas, frames, [states[frame].ground for frame in frames])

    for number in reversed(range(max(len(state.shapes) for state in states))):  # object 1 last: it is in front
        looks = [look_of(state.shapes[number]) if number < len(state.shapes) else None for state in states]
        for frames in group_equal(looks):
            paint_shape(canvas, masks, frames, [states[frame].shapes[number] for frame in frames], number + 1)

    for frames in group_equal([state.occluders or None for state in states]):
        for occluder in states[frames[0]].occluders:
            paint_occluder(canvas, masks, frames, occluder)

    canvas += 0.5  # round to nearest; every colour is a mixture of colours between 0 and 255
    return np.ascontiguousarray(np.moveaxis(canvas.astype(np.uint8), 0, -1)), masks


def group_equal(keys: Sequence[Hashable | None]) -> list[NDArray[np.intp]]:
    """Indices of the frames with each key; frames with key None are skipped."""
    groups: dict[Hashable, list[int]] = {}
    for frame, key in enumerate(keys):
        if key is not None:
            groups.setdefault(key, []).append(frame)
    return [np.array(frames) for frames in groups.values()]


def look_of(shape: Shape) -> Hashable | None:
    """Frames of a shape with an equal look are drawn together; None is invisible."""
    return (shape.kind, shape.texture, shape.tones, shape.texture_phase) if shape.visible else None


def paint_of(colour: Sequence[float]) -> Floats:
    """A colour of range 0 to 1 as (3, 1, 1, 1), range 0 to 255."""
    return 255.0 * np.asarray(colour, np.float32).reshape(3, 1, 1, 1)


def mix(
    first: Floats,  # (3, ...) colour planes
    second: Floats,  # (3, ...)
    amount: Floats,  # (...) 0 is all first, 1 is all second
) -> Floats:  # (3, ...)
    """From one colour to another, pixel by pixel."""
    mixed = amount * (second - first)
    mixed += first
    return mixed


# ---- ground ----


def paint_ground(canvas: Floats, frames: NDArray[np.intp], grounds: list[Ground]) -> None:
    """Fill the frames with one grain, each at its own position, angle and scale."""
    size = canvas.shape[-1]
    field = coloured_grain(grounds[0], size)
    for frame, ground in zip(frames, grounds, strict=True):
        # From a pixel's position in the frame, relative to the centre, to its position in the grain.
        back = np.exp(-1j * ground.angle) / ground.scale
        turn = np.array([[back.real, -back.imag], [back.imag, back.real]])
        middle = np.full(2, (size - 1) / 2)
        offset = middle - turn @ (middle + size * np.array(ground.position))
        seen = cv2.warpAffine(
            field,
            np.column_stack([turn, offset]),
            (size, size),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_WRAP,
        )
        canvas[:, frame] = np.moveaxis(seen, -1, 0)
    np.clip(canvas, 0.0, 255.0, out=canvas)


def coloured_grain(ground: Ground, size: int) -> Floats:  # (period * size, period * size, 3) RGB, seamless
    """Three noises, in the ground's colours."""
    side = ground.period * size
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij")) * size
    octaves = np.log2(np.maximum(frequency, 1e-6) / ground.cycles)
    band = np.exp(-np.square(octaves / 0.75)) * (frequency < 0.3 * size)
    white = np.random.default_rng(ground.grain).standard_normal((3, side, side))
    noises = np.fft.irfft2(np.fft.rfft2(white) * band, (side, side))
    noises /= noises.std(axis=(1, 2), keepdims=True)
    mixed = np.asarray(ground.colour) + np.moveaxis(noises, 0, -1) @ np.asarray(ground.contrasts)
    return (255.0 * mixed).astype(np.float32)


# ---- shapes ----


def paint_shape(canvas: Floats, masks: Bytes, frames: NDArray[np.intp], shapes: list[Shape], object_id: int) -> None:
    """Draw one shape into a square patch around its centre in each frame; indices modulo the frame size wrap it."""
    size, look = canvas.shape[-1], shapes[0]
    radius = size * np.array([shape.size for shape in shapes], np.float32)[:, None, None]  # pixels
    angle = np.array([shape.angle for shape in shapes])
    centre = size * np.array([shape.position for shape in shapes]) - 0.5  # pixel 0 has its centre at 0
    corner = np.floor(centre).astype(np.intp)
    reach = min(math.ceil(LARGEST_RADIUS * radius.max()) + 1, size // 2 - 1)
    steps = np.arange(-reach, reach + 2)

    offset_x, offset_y = (steps - (centre - corner)[:, axis, None] for axis in (0, 1))  # (T, P) pixels
    cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
    # Into the shape's own frame, where its radius is 1: an outer sum of two small tables.
    u = ((cosine * offset_x)[:, None, :] + (sine * offset_y)[:, :, None]).astype(np.float32) / radius  # (T, P, P)
    v = ((cosine * offset_y)[:, :, None] - (sine * offset_x)[:, None, :]).astype(np.float32) / radius

    depth = -outline_distance(look.kind, u, v) * radius  # pixels inside the outline
    coverage = np.clip(depth + 0.5, 0.0, 1.0)
    tone = np.clip(texture_field(look.texture, u, v, look.texture_phase, radius), 0.0, 1.0)
    rim_width = np.minimum(0.02 * size, 0.12 * radius)
    rim = 0.55 + 0.45 * np.clip(depth - rim_width + 0.5, 0.0, 1.0)  # a darker edge sets it off from the background
    colour = mix(paint_of(look.tones[1]), paint_of(look.tones[0]), tone) * rim

    rows, columns = ((corner[:, axis, None] + steps) % size for axis in (1, 0))  # (T, P) each
    pixels = ((frames[:, None] * size + rows)[:, :, None] * size + columns[:, None, :]).ravel()
    planes, mask = canvas.reshape(3, -1), masks.reshape(-1)
    coverage, colour = coverage.ravel(), colour.reshape(3, -1)
    for plane, paint in zip(planes, colour, strict=True):
        below = plane[pixels]
        plane[pixels] = below + coverage * (paint - below)
    mask[pixels[coverage > 0.5]] = object_id


LARGEST_RADIUS = 1.15  # no outline below reaches further from its centre, in radii


def outline_distance(kind: str, u: Floats, v: Floats) -> Floats:
    """Distance outside (positive) or inside (negative) the outline, in radii; good near the outline."""
    match kind:
        case "circle":
            return np.sqrt(u * u + v * v) - 1.0
        case "ring":
            return np.abs(np.sqrt(u * u + v * v) - 0.72) - 0.28
        case "crescent":
            full = np.sqrt(u * u + v * v) - 1.0
            bite = 0.7 - np.sqrt(np.square(u - 0.55) + v * v)
            return np.maximum(full, bite)
        case "square":
            return np.maximum(np.abs(u), np.abs(v)) - 0.8
        case "hexagon":
            return np.max(half_planes(u, v, count=6), axis=0) - 0.88
        case "triangle":
            return np.max(half_planes(u, v, count=3), axis=0) - 0.57
        case "cross":
            long, wide = np.float32(1.0), np.float32(0.36)
            across, along = np.abs(u), np.abs(v)
            return np.minimum(np.maximum(across - long, along - wide), np.maximum(along - long, across - wide))
        case "star":  # five points: inside all but one of the five sides' half planes
            highest, *others = half_planes(u, v, count=5)
            second = np.full_like(highest, -np.inf)
            for side in others:
                second = np.maximum(second, np.minimum(highest, side))
                highest = np.maximum(highest, side)
            return second - 0.35
        case _:
            raise ValueError(f"shape kind ({kind!r}) must be one of SHAPES in vjepa.data.synthetic.world")


def half_planes(u: Floats, v: Floats, count: int) -> list[Floats]:
    """Coordinates along `count` directions spread evenly over the circle."""
    directions = [2.0 * math.pi * number / count for number in range(count)]
    return [np.float32(math.cos(angle)) * u + np.float32(math.sin(angle)) * v for angle in directions]


def texture_field(kind: str, u: Floats, v: Floats, phase: float, radius: Floats) -> Floats:
    """Fraction of the first tone once clipped to 0..1, with edges about a pixel wide. Each one shows rotation."""
    shift = np.float32(2.0 * math.pi * phase)
    match kind:
        case "stripes":
            return 0.5 + np.sin(4.4 * u + shift) * (radius / 4.4)
        case "checker":
            return 0.5 + np.sin(3.6 * u + shift) * np.sin(3.6 * v + shift) * (radius / 3.6)
        case "dots":
            return 0.5 + (0.8 - np.cos(5.6 * u + shift) - np.cos(5.6 * v + shift)) * (radius / 5.6)
        case "halves":
            return 0.5 + (v + np.float32(0.5 * (phase - 0.5))) * radius
        case "quarters":
            return 0.5 + (u * v) * radius * 3.0
        case "gradient":
            return 0.5 + v * np.float32(0.7)
        case "chevrons":
            return 0.5 + np.sin(4.4 * (u + 0.8 * np.abs(v)) + shift) * (radius / 4.4)
        case _:
            raise ValueError(f"texture ({kind!r}) must be one of TEXTURES in vjepa.data.synthetic.world")


# ---- occluders ----


def paint_occluder(canvas: Floats, masks: Bytes, frames: NDArray[np.intp], occluder: Occluder) -> None:
    """A round post across the frame: lit along its middle, with soft bands along its length."""
    size = canvas.shape[-1]
    centres = (np.arange(size, dtype=np.float32) + 0.5) / size
    offset = (centres - occluder.centre + 0.5) % 1.0 - 0.5  # shortest way round the torus
    coverage = np.clip((0.5 * occluder.width - np.abs(offset)) * size + 0.5, 0.0, 1.0)
    touched = np.flatnonzero(coverage)
    light = 1.0 - 0.45 * np.minimum(2.0 * np.abs(offset[touched]) / occluder.width, 1.0) ** 2
    bands = 0.88 + 0.12 * np.sin(12.0 * math.pi * centres)
    shade, cover = bands[:, None] * light, np.tile(coverage[touched], (size, 1))  # (size, P) of a vertical post
    whole = np.arange(size)
    rows, columns = (whole, touched) if occluder.vertical else (touched, whole)
    if not occluder.vertical:
        shade, cover = shade.T, cover.T
    picture = paint_of(occluder.colour)[:, 0] * shade  # (3, rows, columns)
    for plane, paint in zip(canvas, picture, strict=True):
        where = np.ix_(frames, rows, columns)
        plane[where] = plane[where] * (1.0 - cover) + paint * cover
    hidden = np.ix_(frames, rows[cover.max(1) > 0.5], columns[cover.max(0) > 0.5])
    masks[hidden] = OCCLUDER_ID
