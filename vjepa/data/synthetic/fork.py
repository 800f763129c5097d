"""A tiny world with an unpredictable future: a ball moves up a road to a fork and goes left or right, at random.

Nothing before the fork shows the turn. The ground and the ball's colour, size and speed are constant and can be
predicted. Lengths are in frame sides (1.0 is the whole frame), x to the right, y down.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

Turn = Literal["left", "right"]
TURNS: tuple[Turn, Turn] = ("left", "right")

NUM_FRAMES = 8
PAST_FRAMES = 4  # the same for both turns
SIZE = 64  # pixels

Colour = tuple[float, float, float]  # red, green, blue, 0 to 1
BALL_COLOURS: dict[str, Colour] = {
    "red": (0.86, 0.20, 0.18),
    "yellow": (0.95, 0.82, 0.20),
    "blue": (0.22, 0.36, 0.90),
    "white": (0.95, 0.95, 0.95),
}
GROUND_COLOURS: dict[str, Colour] = {
    "green": (0.30, 0.46, 0.32),
    "brown": (0.47, 0.38, 0.30),
    "grey": (0.40, 0.42, 0.46),
}
ROAD_COLOUR: Colour = (0.66, 0.63, 0.58)
ROAD_WIDTH = 0.26
FORK = (0.5, 0.5)
HEADINGS = {"left": (-np.sqrt(0.5), -np.sqrt(0.5)), "right": (np.sqrt(0.5), -np.sqrt(0.5))}


class Fork(NamedTuple):
    """All of a clip but the ball's turn."""

    ball: str  # one of BALL_COLOURS
    ground: str  # one of GROUND_COLOURS
    radius: float
    pace: float  # per frame
    grain: int  # seed of the ground's texture


def draw_fork(rng: np.random.Generator) -> Fork:
    balls, grounds = list(BALL_COLOURS), list(GROUND_COLOURS)
    return Fork(
        ball=balls[rng.integers(len(balls))],
        ground=grounds[rng.integers(len(grounds))],
        radius=rng.uniform(0.12, 0.15),
        pace=rng.uniform(0.09, 0.12),
        grain=int(rng.integers(2**32)),
    )


def draw_turn(rng: np.random.Generator) -> Turn:
    return TURNS[rng.integers(2)]


def render_fork(fork: Fork, turn: Turn) -> UInt8[np.ndarray, "T H W 3"]:
    """NUM_FRAMES of SIZE x SIZE pixels; the first PAST_FRAMES are the same for both turns."""
    x, y = (np.arange(SIZE) + 0.5) / SIZE, (np.arange(SIZE)[:, None] + 0.5) / SIZE
    ground = _grained(GROUND_COLOURS[fork.ground], fork.grain)
    arms = [_road_coverage(x, y, FORK, (FORK[0] + heading[0], FORK[1] + heading[1])) for heading in HEADINGS.values()]
    road = np.maximum.reduce([_road_coverage(x, y, (FORK[0], 1.2), FORK), *arms])
    still = _painted(ground, ROAD_COLOUR, road)
    frames = []
    for frame in range(NUM_FRAMES):
        at_x, at_y = ball_position(fork, turn, frame)
        ball = np.clip((fork.radius - np.hypot(x - at_x, y - at_y)) * SIZE + 0.5, 0, 1)
        frames.append(_painted(still, BALL_COLOURS[fork.ball], ball))
    return (255 * np.stack(frames) + 0.5).astype(np.uint8)


def ball_position(fork: Fork, turn: Turn, frame: int) -> tuple[float, float]:
    """The centre of the ball: it is at the fork in the last frame of the past."""
    away = (frame - (PAST_FRAMES - 1)) * fork.pace
    if away <= 0:
        return FORK[0], FORK[1] - away
    heading = HEADINGS[turn]
    return FORK[0] + away * heading[0], FORK[1] + away * heading[1]


def fork_clips(seed: int, indices: Sequence[int]) -> tuple[UInt8[np.ndarray, "B 3 T H W"], list[Fork], list[Turn]]:
    """Clips of the endless sequence of a seed, as a function of seed and index, with their turns."""
    clips, forks, turns = [], [], []
    for index in indices:
        rng = np.random.default_rng((seed, index))
        fork, turn = draw_fork(rng), draw_turn(rng)
        clips.append(as_clip(render_fork(fork, turn)))
        forks.append(fork)
        turns.append(turn)
    return np.stack(clips), forks, turns


def as_clip(frames: UInt8[np.ndarray, "T H W 3"]) -> UInt8[np.ndarray, "3 T H W"]:
    return np.ascontiguousarray(np.moveaxis(frames, -1, 0))


def _grained(colour: Colour, seed: int) -> Float[np.ndarray, "H W 3"]:
    """A colour, 0 to 1, with a grain of four pixels."""
    coarse = np.random.default_rng(seed).normal(0, 0.02, (SIZE // 4, SIZE // 4))
    grain = coarse.repeat(4, axis=0).repeat(4, axis=1)
    return np.clip(np.asarray(colour) + grain[..., None], 0, 1)


def _road_coverage(
    x: Float[np.ndarray, " W"], y: Float[np.ndarray, "H 1"], start: tuple[float, float], end: tuple[float, float]
) -> Float[np.ndarray, "H W"]:
    """Fraction of each pixel that the road from start to end covers."""
    along_x, along_y = end[0] - start[0], end[1] - start[1]
    t = np.clip(((x - start[0]) * along_x + (y - start[1]) * along_y) / (along_x**2 + along_y**2), 0, 1)
    distance = np.hypot(x - start[0] - t * along_x, y - start[1] - t * along_y)
    return np.clip((ROAD_WIDTH / 2 - distance) * SIZE + 0.5, 0, 1)


def _painted(
    picture: Float[np.ndarray, "H W 3"], colour: Colour, opacity: Float[np.ndarray, "H W"]
) -> Float[np.ndarray, "H W 3"]:
    return picture + opacity[..., None] * (np.asarray(colour) - picture)
