"""Pictures and object masks of the physics world: smooth-edged, all frames of a film at once."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vjepa.data.synthetic.physics import FRAME, SCALES, Film, Slab, Thing
from vjepa.data.synthetic.render import OCCLUDER_ID, outline_distance

Bytes = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]  # float32 in fact


def render_film(film: Film, size: int) -> tuple[Bytes, Bytes]:  # frames (T, H, W, 3) RGB 0-255, object masks (T, H, W)
    """Draw a film. In the masks 0 is background, k is the visible part of object k, 255 is a screen."""
    scale = size / FRAME
    canvas = background(film, size)
    masks = np.zeros(canvas.shape[:3], np.uint8)
    for ledge in film.ledges:
        paint_slab(canvas, masks, ledge, scale, 0)
    for thing in film.things:
        paint_thing(canvas, masks, thing, scale)
    for wall in film.walls:
        paint_slab(canvas, masks, wall, scale, 0)
    for screen in film.screens:
        paint_slab(canvas, masks, screen, scale, OCCLUDER_ID)
    canvas *= 255 * film.light[:, None, None].astype(np.float32)
    canvas += 0.5  # round to nearest
    frames = np.minimum(canvas, 255, out=canvas).astype(np.uint8)
    if film.mirrored:
        frames, masks = frames[:, :, ::-1], masks[:, :, ::-1]
    return np.ascontiguousarray(frames), np.ascontiguousarray(masks)


def background(film: Film, size: int) -> Floats:  # (T, H, W, 3), 0 to 1
    """A softly mottled wall and a darker floor."""
    colour = np.asarray(film.colour, np.float32)
    shade = np.linspace(0.62, 0.47, size, dtype=np.float32)[:, None, None]  # of the floor, darker towards us
    is_floor = coverage(size, film.floor * size / FRAME, np.inf)[:, None, None]
    before, after = (
        (1 - is_floor) * (colour + soft_noise(seed, size)) + is_floor * shade * colour for seed in film.textures
    )
    canvas = np.repeat(before[None], len(film.fade), axis=0)
    if film.fade.any():
        canvas += film.fade.astype(np.float32)[:, None, None, None] * (after - before)
    return canvas


def soft_noise(seed: int, size: int) -> Floats:  # (H, W, 1)
    """Random values on a coarse grid, smoothly interpolated."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(-0.13, 0.13, rng.integers(4, 10, 2))
    for _ in range(2):  # down the first axis, then down the other
        cell, within = np.divmod(np.linspace(0, len(coarse) - 1.001, size), 1.0)
        amount = (within**2 * (3 - 2 * within))[:, None]
        above, below = coarse[cell.astype(int)], coarse[cell.astype(int) + 1]
        coarse = (above + amount * (below - above)).T
    return coarse[..., None].astype(np.float32)


def coverage(size: int, low: Any, high: Any) -> Floats:  # (..., size)
    """Fraction of each pixel of a line that lies between two positions, in pixels."""
    low, high = (np.asarray(position, np.float32)[..., None] for position in (low, high))
    edges = np.arange(size + 1, dtype=np.float32)
    return np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, 1)


def paint_slab(canvas: Floats, masks: Bytes, slab: Slab, scale: float, mask_id: int) -> None:
    """A plate with a darker rim."""
    size = canvas.shape[1]
    columns = slice(max(0, math.floor(scale * slab.left)), math.ceil(scale * slab.right))
    sides = [coverage(size, scale * (slab.left + rim), scale * (slab.right - rim))[columns] for rim in (0, 1)]
    heights = [coverage(size, scale * (slab.top + rim), scale * (slab.bottom - rim)) for rim in (0, 1)]
    whole, inner = (height[:, :, None] * side for height, side in zip(heights, sides, strict=True))
    seen = canvas[:, :, columns]
    seen += whole[..., None] * ((0.6 + 0.4 * inner)[..., None] * np.asarray(slab.colour, np.float32) - seen)
    masks[:, :, columns][whole > 0.5] = mask_id


def paint_thing(canvas: Floats, masks: Bytes, thing: Thing, scale: float) -> None:
    """A shape of one colour with a slightly darker rim, drawn into a square patch around its centre in each frame."""
    size, radius = canvas.shape[1], scale * thing.radius * SCALES[thing.kind]
    reach = math.ceil(1.2 * radius) + 1
    in_sight = thing.seen & (np.abs(scale * thing.x - size / 2) < size / 2 + reach)
    (frames,) = np.nonzero(in_sight)
    centre = scale * np.stack((thing.x, thing.y), axis=1)[frames] - 0.5  # pixel 0 has its centre at 0
    corner = np.floor(centre).astype(np.intp)
    steps = np.arange(-reach, reach + 2)
    u, v = (((steps - (centre - corner)[:, axis, None]) / radius).astype(np.float32) for axis in (0, 1))
    across, down = np.broadcast_arrays(u[:, None, :], v[:, :, None])
    # A triangle stands on its side.
    depth = -radius * outline_distance(thing.kind, *((down, across) if thing.kind == "triangle" else (across, down)))
    columns, rows = (corner[:, axis, None] + steps for axis in (0, 1))
    inside = ((columns >= 0) & (columns < size))[:, None, :] & ((rows >= 0) & (rows < size))[:, :, None]
    whole, touched = np.clip(depth + 0.5, 0, 1), inside & (depth > -0.5)
    frames, rows, columns = np.broadcast_arrays(frames[:, None, None], rows[:, :, None], columns[:, None, :])
    pixels, amount = (frames[touched], rows[touched], columns[touched]), whole[touched][:, None]
    rim = 0.7 + 0.3 * np.clip(depth[touched] - 0.7, 0, 1)
    canvas[pixels] += amount * (rim[:, None] * np.asarray(thing.colour, np.float32) - canvas[pixels])
    masks[tuple(index[amount[:, 0] > 0.5] for index in pixels)] = thing.number
