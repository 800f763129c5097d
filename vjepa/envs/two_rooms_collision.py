"""Where the disk of Two Rooms can go: swept collision with border, wall and door, all episodes of a batch at once."""

from typing import NamedTuple

import numpy as np

SIZE = 64
BORDER = 5.0  # the agent's centre keeps this distance from the edge
RADIUS = 2.0  # of the agent
WALL_HALF_WIDTH = 1.5
DOOR_HALF_WIDTH = 5.0


class _Obstacles(NamedTuple):
    """What the agent's centre must stay out of: a wall's two parts, grown by the agent's radius."""

    low: np.ndarray  # (B, 4, 2) corners of boxes
    high: np.ndarray  # (B, 4, 2)
    corners: np.ndarray  # (B, 4, 2) middles of circles of the agent's radius


def moved(
    places: np.ndarray,  # (B, 2)
    moves: np.ndarray,  # (B, 2)
    layouts: np.ndarray,  # (B, 2) x of the wall, y of the door
) -> np.ndarray:  # (B, 2)
    """Where the agents come to, by swept collision: up to the first thing hit, then along it."""
    places, left = places.copy(), moves.astype(float).copy()
    rows = np.arange(len(places))
    for _ in range(3):  # a corner needs two slides
        at = places[rows]
        by = np.clip(at + left, BORDER, SIZE - BORDER) - at
        # Most moves come nowhere near the wall.
        reach = np.abs(by[:, 0]) + WALL_HALF_WIDTH + RADIUS + 1e-3
        near = np.abs(at[:, 0] - layouts[rows, 0]) < reach
        places[rows[~near]] = (at + by)[~near]
        rows, at, by = rows[near], at[near], by[near]
        if not len(rows):
            break
        share, normal = _first_hit(at, by, _obstacles(layouts[rows]))
        places[rows] = at + by * share[:, None]
        left = by * (1 - share)[:, None]
        left -= np.minimum((left * normal).sum(1), 0)[:, None] * normal
        go_on = left.any(1)
        rows, left = rows[go_on], left[go_on]
    return places


def _obstacles(layouts: np.ndarray) -> _Obstacles:
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
    places: np.ndarray,  # (B, 2)
    moves: np.ndarray,  # (B, 2)
    obstacles: _Obstacles,
) -> tuple[np.ndarray, np.ndarray]:  # (B,) share of the move until then, 1 where nothing is hit; (B, 2) normal there
    at, by = places[:, None], moves[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        to_low, to_high = (obstacles.low - at) / by, (obstacles.high - at) / by
    still = by == 0
    within = (at > obstacles.low) & (at < obstacles.high)
    enter = np.where(still, np.where(within, -np.inf, np.inf), np.minimum(to_low, to_high))
    leave = np.where(still, np.inf, np.maximum(to_low, to_high))
    first, axis = enter.max(-1), enter.argmax(-1)  # (B, 4)
    sign = -np.sign(np.take_along_axis(np.broadcast_to(by, enter.shape), axis[..., None], -1)[..., 0])
    box_normals = np.eye(2)[axis] * sign[..., None]
    box_shares = np.where(first < leave.min(-1), first, np.inf)

    apart = at - obstacles.corners
    a, b = (by**2).sum(-1), (apart * by).sum(-1)
    inside = b**2 - a * ((apart**2).sum(-1) - RADIUS**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        circle_shares = np.where((inside > 0) & (b < 0), (-b - np.sqrt(np.maximum(inside, 0))) / a, np.inf)
    touching = apart + by * np.where(np.isfinite(circle_shares), circle_shares, 0)[..., None]
    circle_normals = touching / np.linalg.norm(touching, axis=-1, keepdims=True)

    shares = np.concatenate((box_shares, circle_shares), axis=1)  # (B, 8)
    normals = np.concatenate((box_normals, circle_normals), axis=1)
    length = np.linalg.norm(moves, axis=1)[:, None]
    # Whoever touches already (by rounding a hair inside) and goes on inwards is stopped; who leaves is not.
    hair = 1e-6 / np.maximum(length, 1e-6)
    inwards = (normals * by).sum(-1) < 0
    shares = np.where(inwards & (shares >= -hair - 1e-9) & (shares <= 1), shares - hair, np.inf)
    which = shares.argmin(1)
    rows = np.arange(len(places))
    share = shares[rows, which]
    hit = np.isfinite(share)
    return np.where(hit, np.clip(share, 0, 1), 1.0), np.where(hit[:, None], normals[rows, which], 0.0)
