"""The shortest way of the agent's centre from start to goal in Two Rooms, against which paths are measured."""

import numpy as np

from vjepa.envs.two_rooms_collision import DOOR_HALF_WIDTH, RADIUS, WALL_HALF_WIDTH, moved
from vjepa.envs.world import Tasks

POINTS_PER_CORNER = 13


def shortest_paths(tasks: Tasks) -> np.ndarray:  # (B,) pixels
    """Straight pieces between start, goal and points around the four corners of the door; at most 0.01 pixels too long.

    A piece is free if an agent that moves along it comes to its end: the world itself is asked.
    """
    return np.array([_shortest_path(tasks.rows(slice(row, row + 1))) for row in range(len(tasks.seeds))])


def _shortest_path(task: Tasks) -> float:
    nodes = np.concatenate((task.starts, task.goals, _around_corners(task.layouts[0])))
    first, second = np.triu_indices(len(nodes), 1)
    pieces = nodes[second] - nodes[first]
    ends = moved(nodes[first], pieces, np.repeat(task.layouts, len(first), axis=0))
    is_free = np.abs(ends - nodes[second]).max(1) < 1e-4
    lengths = np.full((len(nodes), len(nodes)), np.inf)
    lengths[first[is_free], second[is_free]] = lengths[second[is_free], first[is_free]] = np.linalg.norm(
        pieces[is_free], axis=1
    )
    return _distance_between(lengths, 0, 1)


def _around_corners(layout: np.ndarray) -> np.ndarray:  # (4 * POINTS_PER_CORNER, 2)
    """Corners of polygons that lie just outside of the circles that the agent's centre can't enter."""
    piece = np.pi / 2 / (POINTS_PER_CORNER - 1)
    radius = (RADIUS + 1e-4) / np.cos(piece / 2)
    nodes = []
    for side in (-1, 1):
        for way in (-1, 1):
            corner = layout + np.array([side * WALL_HALF_WIDTH, way * DOOR_HALF_WIDTH])
            # From beside the wall to inside the door.
            angles = np.arange(POINTS_PER_CORNER) * piece
            nodes.append(corner + radius * np.stack((side * np.cos(angles), -way * np.sin(angles)), axis=1))
    return np.concatenate(nodes)


def _distance_between(lengths: np.ndarray, start: int, goal: int) -> float:
    """Dijkstra's algorithm on a small dense graph."""
    distance = np.full(len(lengths), np.inf)
    distance[start] = 0.0
    is_open = np.ones(len(lengths), bool)
    while True:
        node = int(np.where(is_open, distance, np.inf).argmin())
        if node == goal or not np.isfinite(distance[node]) or not is_open[node]:
            return float(distance[goal])
        is_open[node] = False
        distance = np.minimum(distance, distance[node] + lengths[node])
