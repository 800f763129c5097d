"""Pictures and object masks of the synthetic world: analytic, anti-aliased shapes, all frames of a clip at once."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vjepa.data.synthetic_world import Ground, Occluder, Shape, Wave, WorldState

OCCLUDER_ID = 255

Floats = NDArray[np.floating[Any]]  # float32 in fact
Bytes = NDArray[np.uint8]


def render(
    states: Sequence[WorldState],  # T states of one frame size
) -> tuple[Bytes, Bytes]:  # frames (T, H, W, 3) RGB 0-255, object masks (T, H, W)
    """Draw every state. In the masks 0 is background, k is the k-th shape where it is seen, 255 is an occluder."""
    size = states[0].size
    assert all(state.size == size for state in states), "the states of one clip share one frame size"
    # Colour by colour, not pixel by pixel: numpy is quick on long last axes.
    canvas = np.empty((3, len(states), size, size), np.float32)
    masks = np.zeros((len(states), size, size), np.uint8)

    for frames in group_equal([pattern_of(state.ground) for state in states]):
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
    """The frames that share a key, for each key; frames of key None are left out."""
    groups: dict[Hashable, list[int]] = {}
    for frame, key in enumerate(keys):
        if key is not None:
            groups.setdefault(key, []).append(frame)
    return [np.array(frames) for frames in groups.values()]


def look_of(shape: Shape) -> Hashable | None:
    """What must be equal for two frames of a shape to be drawn together; None draws nothing."""
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


def pattern_of(ground: Ground) -> Hashable:
    """What must be equal for two frames' grounds to be drawn together."""
    return (ground.colours, ground.waves, ground.tint_waves, ground.sharpness)


def paint_ground(canvas: Floats, frames: NDArray[np.intp], grounds: list[Ground]) -> None:
    """Fill the frames with one pattern, each at its own place, angle and scale."""
    size, pattern = canvas.shape[-1], grounds[0]
    if grounds.count(pattern) == len(grounds):
        grounds = [pattern]  # at rest it is drawn once
    amount = 0.5 + 0.5 * np.tanh(pattern.sharpness * sum_waves(pattern.waves, grounds, size))
    tint = 0.35 + 0.35 * np.tanh(sum_waves(pattern.tint_waves, grounds, size))
    first, second, third = (paint_of(colour) for colour in pattern.colours)
    canvas[:, frames] = mix(mix(first, second, amount), third, tint)


def sum_waves(
    waves: tuple[Wave, ...],
    grounds: list[Ground],  # one for each of T frames
    size: int,
) -> Floats:  # (T, size, size)
    """Sum of a * cos(2 pi k . r + phase), as one matrix product per frame: cos(A + B) = cosA cosB - sinA sinB.

    r is a pixel's place in the pattern: seen from the middle of the frame, less the pattern's position, turned back and
    shrunk back. The turn and the scale are moved to the waves.
    """
    cycles = np.array(waves)[:, 0] + 1j * np.array(waves)[:, 1]  # (K,): a wave as a complex number, x + iy
    amplitude, phase = np.array(waves).T[2:, :, None]  # each (K, 1)
    turn = np.exp(1j * np.array([ground.angle for ground in grounds]))
    scale = np.array([ground.scale for ground in grounds])
    position = np.array([complex(*ground.position) for ground in grounds])
    seen = (turn / scale)[:, None] * cycles  # (T, K)
    shift = (seen.conj() * position[:, None]).real  # (T, K)
    centres = (np.arange(size) + 0.5) / size - 0.5
    along_x = 2.0 * math.pi * (seen.real[:, :, None] * centres - shift[:, :, None]) + phase  # (T, K, W)
    along_y = 2.0 * math.pi * seen.imag[:, :, None] * centres  # (T, K, H)
    columns = np.concatenate([amplitude * np.cos(along_x), -amplitude * np.sin(along_x)], axis=1).astype(np.float32)
    rows = np.concatenate([np.cos(along_y), np.sin(along_y)], axis=1).astype(np.float32)
    return rows.transpose(0, 2, 1) @ columns


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
            raise ValueError(f"shape kind ({kind!r}) must be one of SHAPES in synthetic_world")


def half_planes(u: Floats, v: Floats, count: int) -> list[Floats]:
    """Coordinates along `count` directions spread evenly over the circle."""
    directions = [2.0 * math.pi * number / count for number in range(count)]
    return [np.float32(math.cos(angle)) * u + np.float32(math.sin(angle)) * v for angle in directions]


def texture_field(kind: str, u: Floats, v: Floats, phase: float, radius: Floats) -> Floats:
    """Share of the first tone once clipped to 0..1, with edges about a pixel wide. Each one shows when it turns."""
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
            raise ValueError(f"texture ({kind!r}) must be one of TEXTURES in synthetic_world")


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
