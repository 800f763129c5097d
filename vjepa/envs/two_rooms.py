"""Two Rooms: a disk in a square with a wall and one door; a common small world for planning from pixels.

Geometry of PLDM (arXiv 2502.14819) and EB-JEPA (2602.03604): 64 x 64 pixels, border 5, wall of width 3, an action moves
the agent by at most 2.45 pixels. Collision is swept along the path of the disk, which slides along what it hits. All
episodes of a batch are computed at once.
"""

from functools import cached_property
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Float64, Num, UInt8

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
DOT_REACH = 7  # pixels from a dot's centre to the edge of what is drawn
FLOOR, WALL, AGENT, DISTRACTOR = (
    np.array(colour, float) for colour in ((24, 24, 32), (170, 170, 180), (250, 90, 70), (70, 160, 250))
)

Layouts = Literal["fixed", "random"]
Split = Literal["train", "test", "held_out", "same_room"]
SPLITS: tuple[Split, ...] = get_args(Split)


class TwoRooms:
    """The suite.

    Args:
        layouts: "fixed": wall at x 32, door at y 18; "random": wall at x 20 to 44, door at y 10 to 54.
        distractors: number of moving dots that do not interact.
        fork: an agent that comes out of the door is pushed up or down at random for a while.
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
        """Start and goal in opposite rooms, farther apart than twice the largest radius.

        "train" and "test" share layouts; "held_out" has those that are not used in training (one in five of all pairs
        of wall and door); "same_room" is "test" with start and goal in one room.
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
        start = sample_position(generator, layout, first_room)
        goal = sample_position(generator, layout, second_room)
        while np.linalg.norm(goal - start) <= 2 * self.radii[0]:
            goal = sample_position(generator, layout, second_room)
        return start, goal, layout, int(generator.integers(2**31))

    def _layout(self, generator: np.random.Generator, held_out: bool) -> np.ndarray:
        if self.layouts == "fixed":
            return np.array(FIXED_LAYOUT)
        while True:
            layout = np.array([generator.integers(*span, endpoint=True) for span in (WALL_RANGE, DOOR_RANGE)], float)
            if is_held_out(layout) == held_out:
                return layout

    def begin(self, tasks: Tasks) -> "TwoRoomsWorld":
        return TwoRoomsWorld(tasks, self.distractors, self.fork)

    def render_goals(self, tasks: Tasks) -> np.ndarray:
        return self.begin(tasks._replace(starts=tasks.goals)).render()

    def distances(self, tasks: Tasks, states: Float[np.ndarray, "B 2"]) -> Float[np.ndarray, " B"]:
        return np.linalg.norm(states - tasks.goals, axis=-1)

    def route_lengths(self, tasks: Tasks, states: Float[np.ndarray, "B 2"]) -> Float[np.ndarray, " B"]:
        """Lengths of the routes from states to goals through the door, as if its corners were square."""
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

    def shortest_paths(self, tasks: Tasks) -> Float[np.ndarray, " B"]:
        return shortest_paths(tasks)


def is_held_out(layout: Num[np.ndarray, "2"]) -> bool:
    """Whether a layout (wall x, door y) is not used in training: one in five, over the whole range."""
    wall, door = int(layout[0]), int(layout[1])
    return (wall + 2 * door) % 5 == 0


def sample_position(
    generator: np.random.Generator, layout: Num[np.ndarray, "2"], room: int
) -> Float64[np.ndarray, "2"]:
    """A position of the agent's centre; room 0 is left of the wall."""
    margin = WALL_HALF_WIDTH + RADIUS + 0.5
    low, high = (BORDER, layout[0] - margin) if room == 0 else (layout[0] + margin, SIZE - BORDER)
    return np.array([generator.uniform(low, high), generator.uniform(BORDER, SIZE - BORDER)])


class TwoRoomsWorld:
    """Running episodes of Two Rooms."""

    def __init__(self, tasks: Tasks, distractors: int = 0, fork: bool = False):
        self.layouts = tasks.layouts
        self.fork = fork
        self.time = 0
        self._positions = tasks.starts.astype(float).copy()
        generators = [generator_for(int(seed), Purpose.WORLD) for seed in tasks.seeds]
        # Drawn before the first step: randomness in an episode is a function of its seed and time.
        phases = [generator.uniform(0, 2 * np.pi, (distractors, 4)) for generator in generators]
        self._paths = np.array(phases).reshape(len(generators), distractors, 4)
        self._coins = np.array([generator.choice([-1.0, 1.0], 64) for generator in generators if fork])
        self._crossings = np.zeros(len(generators), int)
        self._remaining_pushes = np.zeros(len(generators), int)

    @property
    def states(self) -> Float64[np.ndarray, "B 2"]:
        """x and y of the agent's centre, in pixels."""
        return self._positions.copy()

    def step(self, actions: Float[np.ndarray, "B 2"]) -> None:
        before = self._positions
        moves = TwoRooms.action_limit.bounded_array(np.asarray(actions, float))
        self._positions = moved(before, moves, self.layouts)
        if self.fork:
            self._push(before)
        self.time += 1

    def _push(self, before: Float64[np.ndarray, "B 2"]) -> None:
        """An agent that crosses the middle of the wall is pushed for 12 steps, up or down by its next coin."""
        wall = self.layouts[:, 0]
        crossed = (before[:, 0] < wall) != (self._positions[:, 0] < wall)
        self._remaining_pushes[crossed] = 12
        self._crossings[crossed] += 1
        pushed = (self._remaining_pushes > 0) & (np.abs(self._positions[:, 0] - wall) > WALL_HALF_WIDTH + RADIUS)
        coins = self._coins[np.arange(len(wall)), self._crossings % self._coins.shape[1]]
        self._positions = moved(self._positions, np.stack((np.zeros(len(wall)), pushed * coins), axis=1), self.layouts)
        self._remaining_pushes[pushed] -= 1

    def render(self) -> UInt8[np.ndarray, "B 64 64 3"]:
        return _draw_dots(self._rooms, self._positions, self._distractor_positions())

    @cached_property
    def _rooms(self) -> UInt8[np.ndarray, "B 64 64 3"]:  # not needed by planners that simulate
        return _draw_rooms(self.layouts)

    def _distractor_positions(self) -> Float64[np.ndarray, "B K 2"]:
        phase, rate = self._paths[..., :2], 0.02 + 0.01 * self._paths[..., 2:]
        return SIZE / 2 + (SIZE / 2 - BORDER) * np.sin(phase + rate * self.time)


def render(
    positions: Float[np.ndarray, "B 2"],
    layouts: Num[np.ndarray, "B 2"],
    distractors: Float[np.ndarray, "B K 2"] | None = None,
) -> UInt8[np.ndarray, "B 64 64 3"]:
    """Floor, wall, and dots with soft edges, which show positions finer than a pixel."""
    return _draw_dots(_draw_rooms(layouts), positions, distractors)


def _draw_rooms(layouts: Num[np.ndarray, "B 2"]) -> UInt8[np.ndarray, "B 64 64 3"]:
    """Floor and wall, which are constant in an episode."""
    middle = np.arange(SIZE) + 0.5
    across = np.clip(WALL_HALF_WIDTH + 0.5 - np.abs(middle - layouts[:, :1]), 0, 1)  # (B, W)
    along = np.clip(np.abs(middle - layouts[:, 1:2]) - DOOR_HALF_WIDTH + 0.5, 0, 1)  # (B, H)
    frames = FLOOR + (along[:, :, None] * across[:, None, :])[..., None] * (WALL - FLOOR)
    return np.round(frames).astype(np.uint8)


def _draw_dots(
    rooms: UInt8[np.ndarray, "B 64 64 3"],
    positions: Float[np.ndarray, "B 2"],
    distractors: Float[np.ndarray, "B K 2"] | None,
) -> UInt8[np.ndarray, "B 64 64 3"]:
    frames = rooms.copy()
    for dots in () if distractors is None else distractors.transpose(1, 0, 2):
        _draw_dot(frames, dots, DISTRACTOR)
    _draw_dot(frames, positions, AGENT)
    return frames


def _draw_dot(
    frames: UInt8[np.ndarray, "B 64 64 3"], positions: Float[np.ndarray, "B 2"], colour: Float[np.ndarray, "3"]
) -> None:
    """Within a window; outside, the dot would change a colour by less than 0.1 of 255."""
    window = np.clip(np.round(positions).astype(int) - DOT_REACH, 0, SIZE - 2 * DOT_REACH)[..., None]
    window = window + np.arange(2 * DOT_REACH)  # (B, 2, 14) pixels in x and in y
    x, y = np.moveaxis(np.exp(-((window + 0.5 - positions[..., None]) ** 2) / (2 * DOT_SIGMA**2)), 1, 0)
    where = np.arange(len(frames))[:, None, None], window[:, 1, :, None], window[:, 0, None, :]
    behind = frames[where].astype(float)
    frames[where] = np.round(behind + (y[:, :, None] * x[:, None, :])[..., None] * (colour - behind))
