"""Swept collision of the disk of Two Rooms with border, wall and door, for all episodes of a batch at once."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Num

SIZE = 64
BORDER = 5.0  # the agent's centre keeps this distance from the edge
RADIUS = 2.0  # of the agent
WALL_HALF_WIDTH = 1.5
DOOR_HALF_WIDTH = 5.0


class _Obstacles(NamedTuple):
    """Where the agent's centre can't be: the wall's two parts, grown by the agent's radius."""

    low: Float64[np.ndarray, "B 4 2"]  # corners of boxes
    high: Float64[np.ndarray, "B 4 2"]
    corners: Float64[np.ndarray, "B 4 2"]  # centres of circles of the agent's radius


def moved(
    positions: Float[np.ndarray, "B 2"],
    moves: Float[np.ndarray, "B 2"],
    layouts: Num[np.ndarray, "B 2"],  # x of the wall, y of the door
) -> Float[np.ndarray, "B 2"]:
    """Positions after the moves: straight up to the first hit, then along the obstacle."""
    positions, rest = positions.copy(), moves.astype(float).copy()
    rows = np.arange(len(positions))
    for _ in range(3):  # a corner needs two slides
        at = positions[rows]
        by = np.clip(at + rest, BORDER, SIZE - BORDER) - at
        # Most moves come nowhere near the wall.
        reach = np.abs(by[:, 0]) + WALL_HALF_WIDTH + RADIUS + 1e-3
        near = np.abs(at[:, 0] - layouts[rows, 0]) < reach
        positions[rows[~near]] = (at + by)[~near]
        rows, at, by = rows[near], at[near], by[near]
        if not len(rows):
            break
        fraction, normal = _first_hit(at, by, _obstacles(layouts[rows]))
        positions[rows] = at + by * fraction[:, None]
        rest = by * (1 - fraction)[:, None]
        rest -= np.minimum((rest * normal).sum(1), 0)[:, None] * normal
        continues = rest.any(1)
        rows, rest = rows[continues], rest[continues]
    return positions


def _obstacles(layouts: Num[np.ndarray, "B 2"]) -> _Obstacles:
    wall, door = layouts[:, 0], layouts[:, 1]
    far = np.full_like(wall, 1e3)
    low, high, corners = [], [], []
    for beyond, wide in ((0.0, RADIUS), (RADIUS, 0.0)):  # grown sideways, and grown into the door
        upper, lower = door - DOOR_HALF_WIDTH + beyond, door + DOOR_HALF_WIDTH - beyond
        left, right = wall - WALL_HALF_WIDTH - wide, wall + WALL_HALF_WIDTH + wide
        low += [np.stack((left, -far), 1), np.stack((left, lower), 1)]
        high += [np.stack((right, upper), 1), np.stack((right, far), 1)]
    for side in (-WALL_HALF_WIDTH, WALL_HALF_WIDTH):
        corners += [np.stack((wall + side, door + way * DOOR_HALF_WIDTH), 1) for way in (-1, 1)]
    return _Obstacles(*(np.stack(part, axis=1) for part in (low, high, corners)))


def _first_hit(
    positions: Float[np.ndarray, "B 2"], moves: Float[np.ndarray, "B 2"], obstacles: _Obstacles
) -> tuple[Float[np.ndarray, " B"], Float[np.ndarray, "B 2"]]:
    """Fraction of the move before the first hit, 1 without one, and the normal there."""
    at, by = positions[:, None], moves[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        to_low, to_high = (obstacles.low - at) / by, (obstacles.high - at) / by
    still = by == 0
    within = (at > obstacles.low) & (at < obstacles.high)
    enter = np.where(still, np.where(within, -np.inf, np.inf), np.minimum(to_low, to_high))
    leave = np.where(still, np.inf, np.maximum(to_low, to_high))
    first, axis = enter.max(-1), enter.argmax(-1)  # (B, 4)
    sign = -np.sign(np.take_along_axis(np.broadcast_to(by, enter.shape), axis[..., None], -1)[..., 0])
    box_normals = np.eye(2)[axis] * sign[..., None]
    box_hits = np.where(first < leave.min(-1), first, np.inf)

    offset = at - obstacles.corners
    a, b = (by**2).sum(-1), (offset * by).sum(-1)
    inside = b**2 - a * ((offset**2).sum(-1) - RADIUS**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        circle_hits = np.where((inside > 0) & (b < 0), (-b - np.sqrt(np.maximum(inside, 0))) / a, np.inf)
    touching = offset + by * np.where(np.isfinite(circle_hits), circle_hits, 0)[..., None]
    circle_normals = touching / np.linalg.norm(touching, axis=-1, keepdims=True)

    hits = np.concatenate((box_hits, circle_hits), axis=1)  # (B, 8)
    normals = np.concatenate((box_normals, circle_normals), axis=1)
    length = np.linalg.norm(moves, axis=1)[:, None]
    # An agent in contact (by rounding slightly inside) that moves inwards is stopped; one that moves away is not.
    tolerance = 1e-6 / np.maximum(length, 1e-6)
    inwards = (normals * by).sum(-1) < 0
    hits = np.where(inwards & (hits >= -tolerance - 1e-9) & (hits <= 1), hits - tolerance, np.inf)
    which = hits.argmin(1)
    rows = np.arange(len(positions))
    fraction = hits[rows, which]
    is_hit = np.isfinite(fraction)
    return np.where(is_hit, np.clip(fraction, 0, 1), 1.0), np.where(is_hit[:, None], normals[rows, which], 0.0)
