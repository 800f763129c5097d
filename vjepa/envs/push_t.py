"""Push-T: a round agent pushes a T-shaped block (environment of gym-pusht, after Diffusion Policy, 2303.04137).

An extra, installed without gym-pusht's dependencies, which would replace our OpenCV: `pip install
"video-jepa[pusht]"`, then `pip install --no-deps "gym-pusht>=0.1.8,<0.2"`.
"""

import os
import warnings
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from vjepa.data.randomness import Purpose, generator_for
from vjepa.envs.single_world import SingleWorlds
from vjepa.envs.world import Suite, Tasks, World
from vjepa.planning.limits import ActionLimit

FIELD = 512  # pixels of the square's sides; positions and distances are in these
LARGEST_MOVE = 40.0
AGENT_RADIUS = 15.0
WALL = 5.0  # pixels from the edge to the walls
THICKNESS = 60.0
MARGIN = 80.0  # from the edge: targets beyond it would press the block into the wall
WHITE, WALL_COLOUR, BLOCK_COLOUR, AGENT_COLOUR = (255,) * 3, (211, 211, 211), (119, 136, 153), (65, 105, 225)
RADII = (30.0, 20.0, 10.0)
PIXELS_PER_RADIAN = 30.0


def push_t(frame_size: int = 64, goal_steps: int = 60) -> SingleWorlds:
    """The suite. Goals are states after a behaviour has pushed the block.

    * State: x and y of the agent, x and y of the block, the block's angle in radians; y points down. It does not
      include velocities, which decay within two steps.
    * Action: displacement of the agent's target, at most 40 px; the agent moves 0.3 times as far in the first step, and
      0.4 times as far in each of the next. A step is 0.1 s.
    * Distance: pixels between the block's positions plus 30 px, the width of its bars, per radian between its angles;
      the agent does not count. The largest radius, 30 px, is about the distance of a block at both of the usual bounds,
      20 px and 20 degrees.

    Args:
        frame_size: height and width of frames.
        goal_steps: of pushing, from a task's start to its goal.
    """
    return SingleWorlds(
        make_env=lambda: PushTEnvironment(frame_size),
        action_limit=ActionLimit(LARGEST_MOVE, "norm"),
        radii=RADII,
        name="push_t",
        action_dim=2,
        unit="px",
        distance=block_distance,
        goal_steps=goal_steps,
        goal_behaviour=Pushing(),
    )


def block_distance(
    states: Float[np.ndarray, "*batch 5"], goals: Float[np.ndarray, "*batch 5"]
) -> Float[np.ndarray, "*batch"]:
    """Pixels between positions, plus 30 per radian between angles."""
    shift = np.linalg.norm(states[..., 2:4] - goals[..., 2:4], axis=-1)
    turn = (states[..., 4] - goals[..., 4] + np.pi) % (2 * np.pi) - np.pi
    return np.asarray(shift + PIXELS_PER_RADIAN * np.abs(turn))


@dataclass
class Pushing:
    """The agent moves to random targets at and around the block, and so pushes it.

    Args:
        spread: standard deviation of targets about the block, in pixels.
    """

    spread: float = 60.0

    def begin(self, suite: Suite, tasks: Tasks, steps: int) -> None:
        draws = [generator_for(int(seed), Purpose.BEHAVIOUR).standard_normal((steps + 1, 6)) for seed in tasks.seeds]
        self._normal = iter(np.stack(draws, axis=1))  # (B, 6) per step
        self._target = np.full((len(tasks.seeds), 2), np.nan)

    def act(self, world: World) -> np.ndarray:
        states, normal = world.states, next(self._normal)
        has_arrived = np.linalg.norm(self._target - states[:, :2], axis=1) < 15
        is_new = has_arrived | np.isnan(self._target[:, 0]) | (normal[:, 0] > 1.6)  # one step in 18
        drawn = np.clip(states[:, 2:4] + self.spread * normal[:, 1:3], MARGIN, FIELD - MARGIN)
        self._target = np.where(is_new[:, None], drawn, self._target)
        return self._target - states[:, :2] + 6 * normal[:, 3:5]


class PushTEnvironment:
    """gym-pusht with displacements as actions, thick walls, and its own rendering.

    The block can be pressed through gym-pusht's thin walls. Its picture shows another goal and, in red, contacts and
    the last action, which a world model must not see.
    """

    def __init__(self, frame_size: int = 64):
        if frame_size < 16:
            raise ValueError(f"frame_size ({frame_size}) must be at least 16 to show the block; try 64")
        self.frame_size = frame_size
        self._env = _push_t_class()(obs_type="state")

    def reset(self, *, seed: int) -> None:
        self._reset(seed, None)

    def _reset(self, seed: int, options: dict[str, Any] | None) -> None:
        self._env.reset(seed=seed, options=options)
        space, beyond = self._env.space, WALL - THICKNESS
        low, high = beyond, FIELD - beyond
        corners = [(low, low), (high, low), (high, high), (low, high)]
        for first, second in zip(corners, corners[1:] + corners[:1], strict=True):
            space.add(self._env.add_segment(space, first, second, THICKNESS))

    def step(self, action: Float[np.ndarray, "2"]) -> None:
        target = np.array(self._env.agent.position) + action
        self._env.step(np.clip(target, WALL + AGENT_RADIUS, FIELD - WALL - AGENT_RADIUS))

    def render(self) -> UInt8[np.ndarray, "H W 3"]:
        """Drawn four times as large and averaged, so that edges are smooth."""
        size = 4 * self.frame_size
        to_pixels = size / FIELD * 16  # sixteenths of a pixel
        picture = np.full((size, size, 3), WHITE, np.uint8)
        edge = int(WALL * to_pixels)
        cv2.rectangle(picture, (edge, edge), (size * 16 - edge, size * 16 - edge), WALL_COLOUR, size // 128, shift=4)
        block, agent = self._env.block, self._env.agent
        for shape in block.shapes:
            corners = np.array([block.local_to_world(corner) for corner in shape.get_vertices()])
            cv2.fillPoly(picture, [np.round(corners * to_pixels).astype(np.int32)], BLOCK_COLOUR, shift=4)
        x, y = np.round(np.array(agent.position) * to_pixels).astype(int).tolist()
        cv2.circle(picture, (x, y), round(AGENT_RADIUS * to_pixels), AGENT_COLOUR, cv2.FILLED, shift=4)
        return cv2.resize(picture, (self.frame_size, self.frame_size), interpolation=cv2.INTER_AREA)

    def get_state(self) -> Float[np.ndarray, "5"]:
        agent, block = self._env.agent, self._env.block
        return np.array([*agent.position, *block.position, block.angle])

    def set_state(self, state: Float[np.ndarray, "5"]) -> None:
        """At rest, in a new simulation."""
        self._reset(0, {"reset_to_state": state})
        agent, block = self._env.agent, self._env.block
        # gym-pusht steps after it has set a state, and rotates the block about another point than its position.
        block.angle = float(state[4])
        agent.position, block.position = state[:2].tolist(), state[2:4].tolist()
        for body in (agent, block):
            body.velocity, body.angular_velocity = (0, 0), 0
            self._env.space.reindex_shapes_for_body(body)


def _push_t_class() -> Any:
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # nothing is shown
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pygame's, of how it looks up its version
            from gym_pusht.envs import PushTEnv
    except ImportError as error:
        raise ValueError(
            f"Push-T needs gym-pusht ({error}); install it with `pip install 'video-jepa[pusht]'` and then "
            f"`pip install --no-deps 'gym-pusht>=0.1.8,<0.2'`, so that it does not replace OpenCV"
        ) from None
    return PushTEnv
