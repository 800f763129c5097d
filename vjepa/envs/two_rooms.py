"""Two Rooms: a disk in a square, a wall across it, one door; the field's common small world for planning from pixels.

Geometry of PLDM (arXiv 2502.14819) and EB-JEPA (2602.03604): 64 x 64 pixels, border 5, wall of width 3, an action moves
the agent by at most 2.45 pixels. Collision is tested along the whole path of the whole disk, so nobody jumps through a
wall; what is left of a move slides along what was hit. All episodes of a batch are computed at once.
"""

from functools import cached_property
from typing import Literal, get_args

import numpy as np

from vjepa.data.randomness import Purpose, generator_for
from vjepa.envs.two_rooms_collision import BORDER, DOOR_HALF_WIDTH, RADIUS, SIZE, WALL_HALF_WIDTH, moved
from vjepa.envs.two_rooms_paths import shortest_paths
from vjepa.envs.world import Tasks
from vjepa.planning.limits import ActionLimit

LARGEST_MOVE = 2.45
FIXED_LAYOUT = (32.0, 18.0)  # x of the wall, y of the door
WALL_RANGE = (20, 44)
DOOR_RANGE = (10, 54)
DOT_SIGMA = 1.6
DOT_REACH = 7  # pixels from a dot's middle to the end of what is drawn
FLOOR, WALL, AGENT, DISTRACTOR = (
    np.array(colour, float) for colour in ((24, 24, 32), (170, 170, 180), (250, 90, 70), (70, 160, 250))
)

Layouts = Literal["fixed", "random"]
Split = Literal["train", "test", "held_out", "same_room"]
SPLITS: tuple[Split, ...] = get_args(Split)


class TwoRooms:
    """The suite: tasks of Two Rooms, and worlds of them.

    Args:
        layouts: "fixed": wall at x 32, door at y 18; "random": wall at x 20 to 44, door at y 10 to 54.
        distractors: dots that wander about and that nothing can be done about.
        fork: who comes out of the door is pushed up or down by chance for a while.
    """

    name = "two_rooms"
    action_dim = 2
    state_dim = 2
    action_limit = ActionLimit(LARGEST_MOVE, "norm")
    frame_size = (SIZE, SIZE)
    radii = (4.5, 2.3, 1.41)
    unit = "px"

    def __init__(self, layouts: Layouts = "fixed", distractors: int = 0, fork: bool = False):
        if layouts not in get_args(Layouts):
            raise ValueError(f"layouts '{layouts}' must be one of {', '.join(get_args(Layouts))}")
        self.layouts = layouts
        self.distractors = distractors
        self.fork = fork

    def tasks(self, count: int, seed: int, split: str = "test") -> Tasks:
        """Start and goal in opposite rooms, out of reach of each other.

        "train" and "test" have layouts that training may see; "held_out" those that it never sees (one in five of all
        pairs of wall and door); "same_room" is "test" with start and goal in one room.
        """
        if split not in SPLITS:
            raise ValueError(f"split '{split}' of Two Rooms must be one of {', '.join(SPLITS)}")
        rows = [self._task(generator_for(seed, Purpose.TASK, SPLITS.index(split), n), split) for n in range(count)]
        starts, goals, layouts, seeds = (np.array(part) for part in zip(*rows, strict=True))
        return Tasks(starts, goals, layouts, seeds)

    def _task(self, generator: np.random.Generator, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        layout = self._layout(generator, held_out=split == "held_out")
        first_room = int(generator.integers(2))
        second_room = first_room if split == "same_room" else 1 - first_room
        start = place_in_room(generator, layout, first_room)
        goal = place_in_room(generator, layout, second_room)
        while np.linalg.norm(goal - start) <= 2 * self.radii[0]:  # never begin at the goal
            goal = place_in_room(generator, layout, second_room)
        return start, goal, layout, int(generator.integers(2**31))

    def _layout(self, generator: np.random.Generator, held_out: bool) -> np.ndarray:
        if self.layouts == "fixed":
            return np.array(FIXED_LAYOUT)
        while True:
            layout = np.array(
                [generator.integers(*WALL_RANGE, endpoint=True), generator.integers(*DOOR_RANGE, endpoint=True)]
            )
            if is_held_out(layout) == held_out:
                return layout.astype(float)

    def begin(self, tasks: Tasks) -> "TwoRoomsWorld":
        return TwoRoomsWorld(tasks, self.distractors, self.fork)

    def render_goals(self, tasks: Tasks) -> np.ndarray:
        at_goal = self.begin(tasks._replace(starts=tasks.goals))
        return at_goal.render()

    def distances(self, tasks: Tasks, states: np.ndarray) -> np.ndarray:
        return np.linalg.norm(states - tasks.goals, axis=-1)

    def route_lengths(self, tasks: Tasks, states: np.ndarray) -> np.ndarray:
        """(B,): from states (B, 2) to the goals through the door, but for the roundness of its corners."""
        wall, door = tasks.layouts[:, 0], tasks.layouts[:, 1]
        way = tasks.goals - states
        side, side_of_goal = (np.sign(part[:, 0] - wall) for part in (states, tasks.goals))
        points = [states]
        for face in (side, side_of_goal):
            x = wall + face * (WALL_HALF_WIDTH + RADIUS)
            straight_on = states[:, 1] + way[:, 1] * (x - states[:, 0]) / np.where(way[:, 0] == 0, 1.0, way[:, 0])
            half = DOOR_HALF_WIDTH - RADIUS
            points.append(np.stack((x, np.clip(straight_on, door - half, door + half)), axis=1))
        points.append(tasks.goals)
        legs = np.linalg.norm(np.diff(points, axis=0), axis=-1).sum(0)
        return np.where(side == side_of_goal, self.distances(tasks, states), legs)

    def shortest_paths(self, tasks: Tasks) -> np.ndarray:
        return shortest_paths(tasks)


def is_held_out(layout: np.ndarray) -> bool:
    """Whether a layout (wall x, door y) is kept from training: one in five, all over the range."""
    wall, door = int(layout[0]), int(layout[1])
    return (wall + 2 * door) % 5 == 0


def place_in_room(generator: np.random.Generator, layout: np.ndarray, room: int) -> np.ndarray:
    """A place for the agent's centre; room 0 is left of the wall."""
    keep_off = WALL_HALF_WIDTH + RADIUS + 0.5
    low, high = (BORDER, layout[0] - keep_off) if room == 0 else (layout[0] + keep_off, SIZE - BORDER)
    return np.array([generator.uniform(low, high), generator.uniform(BORDER, SIZE - BORDER)])


class TwoRoomsWorld:
    """Episodes of Two Rooms that run together."""

    def __init__(self, tasks: Tasks, distractors: int = 0, fork: bool = False):
        self.layouts = tasks.layouts
        self.fork = fork
        self.time = 0
        self._places = tasks.starts.astype(float).copy()
        generators = [generator_for(int(seed), Purpose.WORLD) for seed in tasks.seeds]
        # Drawn before the first step: what happens in an episode is a function of its seed and time.
        self._paths = np.array([g.uniform(0, 2 * np.pi, (distractors, 4)) for g in generators]).reshape(
            len(generators), distractors, 4
        )
        self._coins = (
            np.array([g.choice([-1.0, 1.0], 64) for g in generators]) if fork else np.zeros((len(generators), 0))
        )
        self._crossings = np.zeros(len(generators), int)
        self._push_left = np.zeros(len(generators), int)

    @property
    def states(self) -> np.ndarray:  # (B, 2) x and y of the agent's centre, in pixels
        return self._places.copy()

    def step(self, actions: np.ndarray) -> None:
        before = self._places
        moves = TwoRooms.action_limit.bounded_array(np.asarray(actions, float))
        self._places = moved(before, moves, self.layouts)
        if self.fork:
            self._push(before)
        self.time += 1

    def _push(self, before: np.ndarray) -> None:
        """Whoever crosses the wall's middle is pushed for 12 steps, up or down by the next of its coins."""
        wall = self.layouts[:, 0]
        crossed = (before[:, 0] < wall) != (self._places[:, 0] < wall)
        self._push_left[crossed] = 12
        self._crossings[crossed] += 1
        pushed = (self._push_left > 0) & (np.abs(self._places[:, 0] - wall) > WALL_HALF_WIDTH + RADIUS)
        coins = self._coins[np.arange(len(wall)), self._crossings % self._coins.shape[1]]
        self._places = moved(self._places, np.stack((np.zeros(len(wall)), pushed * coins), axis=1), self.layouts)
        self._push_left[pushed] -= 1

    def render(self) -> np.ndarray:
        return _with_dots(self._rooms, self._places, self._distractor_places())

    @cached_property
    def _rooms(self) -> np.ndarray:  # (B, 64, 64, 3) uint8; planners that simulate never look
        return _rooms(self.layouts)

    def _distractor_places(self) -> np.ndarray:  # (B, K, 2)
        phase, rate = self._paths[..., :2], 0.02 + 0.01 * self._paths[..., 2:]
        return SIZE / 2 + (SIZE / 2 - BORDER) * np.sin(phase + rate * self.time)


def render(
    places: np.ndarray,  # (B, 2)
    layouts: np.ndarray,  # (B, 2)
    distractors: np.ndarray | None = None,  # (B, K, 2)
) -> np.ndarray:  # (B, 64, 64, 3) uint8
    """Floor, wall, and dots with soft edges, so that a place finer than a pixel can be read."""
    return _with_dots(_rooms(layouts), places, distractors)


def _rooms(layouts: np.ndarray) -> np.ndarray:  # (B, 64, 64, 3) uint8
    """Floor and wall: what stays the same in an episode."""
    middle = np.arange(SIZE) + 0.5
    across = np.clip(WALL_HALF_WIDTH + 0.5 - np.abs(middle - layouts[:, :1]), 0, 1)  # (B, W)
    along = np.clip(np.abs(middle - layouts[:, 1:2]) - DOOR_HALF_WIDTH + 0.5, 0, 1)  # (B, H)
    frames = FLOOR + (along[:, :, None] * across[:, None, :])[..., None] * (WALL - FLOOR)
    return np.round(frames).astype(np.uint8)


def _with_dots(rooms: np.ndarray, places: np.ndarray, distractors: np.ndarray | None) -> np.ndarray:
    frames = rooms.copy()
    for dots in () if distractors is None else distractors.transpose(1, 0, 2):
        _draw_dot(frames, dots, DISTRACTOR)
    _draw_dot(frames, places, AGENT)
    return frames


def _draw_dot(frames: np.ndarray, places: np.ndarray, colour: np.ndarray) -> None:
    """In a window around it; farther away it would change a colour by less than 0.1 of 255."""
    window = np.clip(np.round(places).astype(int) - DOT_REACH, 0, SIZE - 2 * DOT_REACH)[..., None]
    window = window + np.arange(2 * DOT_REACH)  # (B, 2, 14) pixels in x and in y
    x, y = np.moveaxis(np.exp(-((window + 0.5 - places[..., None]) ** 2) / (2 * DOT_SIGMA**2)), 1, 0)
    where = np.arange(len(frames))[:, None, None], window[:, 1, :, None], window[:, 0, None, :]
    behind = frames[where].astype(float)
    frames[where] = np.round(behind + (y[:, :, None] * x[:, None, :])[..., None] * (colour - behind))
