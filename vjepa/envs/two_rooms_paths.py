"""Shortest paths of the agent's centre from start to goal in Two Rooms, a reference for the paths of policies."""

import numpy as np
from jaxtyping import Float, Num

from vjepa.envs.two_rooms_collision import DOOR_HALF_WIDTH, RADIUS, WALL_HALF_WIDTH, moved
from vjepa.envs.world import Tasks

POINTS_PER_CORNER = 13


def shortest_paths(tasks: Tasks) -> Float[np.ndarray, " B"]:
    """Lengths in pixels of straight segments between start, goal and points around the four corners of the door.

    They are at most 0.01 pixels too long. A segment is free if an agent that moves along it arrives at its end.
    """
    return np.array([_shortest_path(tasks.rows(slice(row, row + 1))) for row in range(len(tasks.seeds))])


def _shortest_path(task: Tasks) -> float:
    nodes = np.concatenate((task.starts, task.goals, _around_corners(task.layouts[0])))
    first, second = np.triu_indices(len(nodes), 1)
    segments = nodes[second] - nodes[first]
    ends = moved(nodes[first], segments, np.repeat(task.layouts, len(first), axis=0))
    is_free = np.abs(ends - nodes[second]).max(1) < 1e-4
    lengths = np.full((len(nodes), len(nodes)), np.inf)
    first, second = first[is_free], second[is_free]
    lengths[first, second] = lengths[second, first] = np.linalg.norm(segments[is_free], axis=1)
    return _distance_between(lengths, 0, 1)


def _around_corners(layout: Num[np.ndarray, "2"]) -> Float[np.ndarray, "n 2"]:
    """Corners of polygons just outside the circles that the agent's centre can't enter."""
    step = np.pi / 2 / (POINTS_PER_CORNER - 1)
    radius = (RADIUS + 1e-4) / np.cos(step / 2)
    nodes = []
    for side in (-1, 1):
        for way in (-1, 1):
            corner = layout + np.array([side * WALL_HALF_WIDTH, way * DOOR_HALF_WIDTH])
            # From beside the wall to inside the door.
            angles = np.arange(POINTS_PER_CORNER) * step
            nodes.append(corner + radius * np.stack((side * np.cos(angles), -way * np.sin(angles)), axis=1))
    return np.concatenate(nodes)


def _distance_between(lengths: Float[np.ndarray, "n n"], start: int, goal: int) -> float:
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
