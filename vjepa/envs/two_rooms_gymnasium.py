"""Two Rooms as an environment of gymnasium, one episode at a time, for other agents and tools."""

from typing import Any, Literal, get_args

import gymnasium
import numpy as np

from vjepa.envs.two_rooms import LARGEST_MOVE, Layouts, TwoRooms
from vjepa.envs.two_rooms_collision import SIZE
from vjepa.envs.world import Tasks

ID = "vjepa/TwoRooms-v0"
Observe = Literal["all", "pixels"]
POSITIONS = ("start", "goal", "layout")
OPTIONS = (*POSITIONS, "split", "task")


def register_two_rooms() -> None:
    """Register `gymnasium.make("vjepa/TwoRooms-v0")`."""
    if ID not in gymnasium.registry:
        gymnasium.register(ID, entry_point=f"{__name__}:TwoRoomsEnv")


class TwoRoomsEnv(gymnasium.Env):
    """From a position in one room to a goal in the other.

    An action is a displacement in x and y, in units of the largest one (2.45 pixels), so from -1 to 1 as gymnasium
    recommends; one longer than 1 is shortened to 1. The reward is 1 at the goal, where the episode terminates, and 0
    elsewhere; it is truncated after `max_steps`. `info` has the `distance` to the goal in pixels, and `is_success`.

    `reset(seed=..., options={"start": (x, y), "goal": (x, y), "layout": (wall x, door y)})` draws what is not given
    from the seed. `options={"split": "held_out"}` draws from another split for one episode. `reset(seed=7,
    options={"task": 3})` is task 3 of `TwoRooms(...).tasks(count, 7, split)`, as in `vjepa plan`.

    Args:
        layouts, distractors, fork: see TwoRooms.
        split: of TwoRooms' tasks.
        observe: "all": a dictionary of `image` and `goal_image` (64, 64, 3) uint8, `state` and `goal_state` (2,)
            float32 in pixels; "pixels": the image alone.
        radius: distance to the goal, in pixels, that counts as success.
        max_steps: after which an episode is truncated.
        render_mode: None or "rgb_array".
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012 (gymnasium's own form)

    def __init__(
        self,
        layouts: Layouts = "fixed",
        distractors: int = 0,
        fork: bool = False,
        split: str = "test",
        observe: Observe = "all",
        radius: float = TwoRooms.radii[0],
        max_steps: int = 200,
        render_mode: str | None = None,
    ):
        if observe not in get_args(Observe):
            raise ValueError(f"observe '{observe}' must be one of {', '.join(get_args(Observe))}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode '{render_mode}' must be None or 'rgb_array'")
        if not radius > 0:
            raise ValueError(f"radius ({radius}) must be more than 0 pixels, or no goal can be reached")
        if max_steps < 1:
            raise ValueError(f"max_steps ({max_steps}) must be at least 1")
        self.suite = TwoRooms(layouts, distractors, fork)
        self.split = split
        self.observe = observe
        self.radius = radius
        self.max_steps = max_steps
        self.render_mode = render_mode
        image: gymnasium.Space[Any] = gymnasium.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        state: gymnasium.Space[Any] = gymnasium.spaces.Box(0, SIZE, (2,), np.float32)
        everything = {"image": image, "state": state, "goal_image": image, "goal_state": state}
        self.observation_space = image if observe == "pixels" else gymnasium.spaces.Dict(everything)
        self.action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.task = self._task(seed, options or {})
        self.world = self.suite.begin(self.task)
        self.goal_image = self.suite.render_goals(self.task)[0]
        self.steps = 0
        return self._observation(), self._facts()

    def _task(self, seed: int | None, options: dict[str, Any]) -> Tasks:
        unknown = sorted(options.keys() - set(OPTIONS))
        if unknown:
            raise ValueError(f"option '{unknown[0]}' of Two Rooms must be one of {', '.join(OPTIONS)}")
        number, split = options.get("task"), options.get("split", self.split)
        if number is None:
            return _with_positions(self.suite.tasks(1, int(self.np_random.integers(2**31)), split), options)
        if seed is None or number < 0:
            raise ValueError(f"task number {number} must be 0 or more, and of a seed; call reset(seed=...) with it")
        return _with_positions(self.suite.tasks(number + 1, seed, split).rows(slice(number, number + 1)), options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.world.step(LARGEST_MOVE * np.asarray(action, float)[None])
        self.steps += 1
        facts = self._facts()
        reached = facts["is_success"]
        return self._observation(), float(reached), reached, self.steps >= self.max_steps, facts

    def render(self) -> np.ndarray | None:
        return None if self.render_mode is None else self.world.render()[0]

    def _observation(self) -> Any:
        image = self.world.render()[0]
        if self.observe == "pixels":
            return image
        return {
            "image": image,
            "state": self.world.states[0].astype(np.float32),
            "goal_image": self.goal_image.copy(),
            "goal_state": self.task.goals[0].astype(np.float32),
        }

    def _facts(self) -> dict[str, Any]:
        distance = float(self.suite.distances(self.task, self.world.states)[0])
        return {"distance": distance, "is_success": distance < self.radius}


def _with_positions(task: Tasks, options: dict[str, Any]) -> Tasks:
    given = {name: np.asarray(options[name], float).reshape(1, -1) for name in POSITIONS if name in options}
    for name, value in given.items():
        if value.shape != (1, 2):
            raise ValueError(f"option '{name}' of Two Rooms must be two numbers, not {value.size}")
    return task._replace(**{f"{name}s": value for name, value in given.items()})
