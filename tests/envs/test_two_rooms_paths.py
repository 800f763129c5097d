"""Shortest paths, held against what can be computed by hand and against a fine grid."""

import heapq

import numpy as np
import pytest

from vjepa.envs.two_rooms import TwoRooms
from vjepa.envs.two_rooms_collision import DOOR_HALF_WIDTH, RADIUS, WALL_HALF_WIDTH
from vjepa.envs.two_rooms_paths import shortest_paths
from vjepa.envs.world import Tasks


def one_task(start: tuple[float, float], goal: tuple[float, float], layout: tuple[float, float]) -> Tasks:
    return Tasks(np.array([start]), np.array([goal]), np.array([layout]), np.zeros(1, int))


def test_within_a_room_and_straight_through_the_door_the_line_is_shortest():
    tasks = TwoRooms("random").tasks(10, 0, "same_room")
    np.testing.assert_allclose(shortest_paths(tasks), np.linalg.norm(tasks.goals - tasks.starts, axis=1))
    assert shortest_paths(one_task((10, 30), (50, 33), (32, 31)))[0] == pytest.approx(np.hypot(40, 3))


def around(start: np.ndarray, centre: np.ndarray) -> tuple[float, float]:
    """Length of the tangent from a point to a circle of the agent's radius, and the angle between it and the middle."""
    apart = float(np.linalg.norm(start - centre))
    return np.sqrt(apart**2 - RADIUS**2), np.arccos(RADIUS / apart)


def test_around_corners_it_is_tangents_and_arcs():
    """Both corners of the upper wall, with the wall's end between them: two tangents, two arcs, one straight piece."""
    start, goal, layout = np.array([24.0, 8.0]), np.array([38.0, 6.0]), np.array([32.0, 30.0])
    corners = [layout + np.array([side * WALL_HALF_WIDTH, -DOOR_HALF_WIDTH]) for side in (-1, 1)]
    expected = 2 * WALL_HALF_WIDTH
    for place, corner, way in ((start, corners[0], -1), (goal, corners[1], 1)):
        tangent, angle = around(place, corner)
        direction = np.arctan2(*(place - corner)[::-1])  # y points down: the arc ends where it points to (0, 1)
        arc = (np.pi / 2 - (direction + way * angle)) * way
        expected += tangent + RADIUS * (arc % (2 * np.pi))
    found = shortest_paths(one_task(tuple(start), tuple(goal), tuple(layout)))[0]
    assert expected - 1e-3 <= found <= expected + 0.01


def grid_path(start: tuple[int, int], goal: tuple[int, int], layout: tuple[float, float], cells: int = 2) -> float:
    """Dijkstra's algorithm on points half a pixel apart, with steps of up to three points to each side."""
    size = 64 * cells
    x, y = np.mgrid[: size + 1, : size + 1] / cells
    across = np.maximum(np.abs(x - layout[0]) - WALL_HALF_WIDTH, 0)
    into_door = np.maximum(DOOR_HALF_WIDTH - np.abs(y - layout[1]), 0)
    free = np.hypot(across, into_door) >= RADIUS
    free &= (x >= 5) & (x <= 59) & (y >= 5) & (y <= 59)
    steps = [(i, j) for i in range(-3, 4) for j in range(-3, 4) if np.gcd(i, j) == 1]
    first, last = (tuple(cells * part for part in place) for place in (start, goal))
    lengths, queue = {first: 0.0}, [(0.0, first)]
    while queue:
        length, place = heapq.heappop(queue)
        if place == last:
            return length / cells
        if length > lengths[place]:
            continue
        for step in steps:
            there = place[0] + step[0], place[1] + step[1]
            so_far = length + float(np.hypot(*step))
            if free[there] and so_far < lengths.get(there, np.inf):
                lengths[there] = so_far
                heapq.heappush(queue, (so_far, there))
    return np.inf


@pytest.mark.parametrize(("start", "goal"), [((14, 52), (50, 50)), ((25, 8), (50, 48))])
def test_no_path_on_a_grid_is_shorter(start, goal):
    layout = (32.0, 20.0)
    found, on_grid = shortest_paths(one_task(start, goal, layout))[0], grid_path(start, goal, layout)
    assert on_grid / 1.03 - 0.5 < found <= on_grid + 1e-6


def test_every_task_has_a_path_that_is_no_shorter_than_the_line():
    tasks = TwoRooms("random").tasks(40, 0, "held_out")
    lengths = shortest_paths(tasks)
    assert np.isfinite(lengths).all()
    assert (lengths >= np.linalg.norm(tasks.goals - tasks.starts, axis=1) - 1e-9).all()
