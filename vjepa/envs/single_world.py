"""Bring your own environment: a suite of whatever can `reset`, `step` and `render`, one environment at a time.

No framework is needed, and gymnasium's environments fit as they are:

* `reset(seed=...)` begins an episode; the same seed, and then the same actions, must always lead to the same;
* `step(action)` takes an array of A numbers; what it returns does not matter, because nobody is stopped or rewarded;
* `render()` returns (H, W, 3) uint8.

An environment may also tell its state, as `get_state()` or as `state`, and be brought to one by `set_state(state)`.
Whose state is unknown has a small grey copy of its frame as its state, and is as far from a goal as the two copies
differ: the mean absolute difference of their pixels, in grey levels from 0 to 255.
"""

import weakref
from collections.abc import Callable
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import cv2
import numpy as np

from vjepa.data.randomness import Purpose, generator_for
from vjepa.envs.behaviour import Behaviour, RandomWalk
from vjepa.envs.world import Tasks
from vjepa.planning.limits import ActionLimit

GREY_SIZE = 16  # of the frame that stands for an unknown state
GOAL_TRIES = 50
Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@runtime_checkable
class Environment(Protocol):
    def reset(self, *, seed: int) -> Any: ...

    def step(self, action: np.ndarray) -> Any: ...

    def render(self) -> Any: ...


@runtime_checkable
class TellsState(Protocol):
    def get_state(self) -> np.ndarray: ...  # (S,)


@runtime_checkable
class CanBeSet(Protocol):
    def set_state(self, state: np.ndarray) -> None: ...  # to what get_state then returns, exactly


class SingleWorlds:
    """A suite of environments that run one at a time.

    In a recipe, `make_env` and `distance` are import paths, e.g. `make_env: my_package.my_module.MyEnvironment`.

    A goal is where a behaviour comes to in `goal_steps` steps from the same start; if that is not farther away than the
    largest radius, other random numbers are tried. So every goal can be reached.

    Args:
        make_env: makes an environment: a class, or a function that returns one (see above for what it must have).
        action_limit: of its actions.
        radii: distances to the goal at which it counts as reached.
        name: of the suite.
        action_dim: numbers of an action; read from `action_space` if None.
        unit: of distances; "grey levels" if None and the environment tells no state.
        distance: from states (B, S) to goals (B, S); if None, the Euclidean norm of their difference, or the mean
            absolute difference of grey copies where the environment tells no state.
        goal_steps: of the behaviour that leads to a goal.
        goal_behaviour: that one; a random walk of actions if None.
        frame_size: height and width to which frames are made smaller; as they are if None.
    """

    def __init__(
        self,
        make_env: type | Callable[[], Any],  # so that a recipe can name a class, too
        action_limit: ActionLimit,
        radii: tuple[float, ...],
        name: str = "own",
        action_dim: int | None = None,
        unit: str | None = None,
        distance: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
        goal_steps: int = 50,
        goal_behaviour: Behaviour | None = None,
        frame_size: tuple[int, int] | None = None,
    ):
        if not radii or list(radii) != sorted(radii, reverse=True):
            raise ValueError(f"radii {radii} must be one or more distances, the largest first")
        if goal_steps < 1:
            raise ValueError(f"goal_steps ({goal_steps}) must be at least 1")
        self.name = name
        self.action_limit = action_limit
        self.radii = tuple(radii)
        self.goal_steps = goal_steps
        self.goal_behaviour = goal_behaviour or RandomWalk()
        self.resize = frame_size
        self._make_env = make_env
        self._idle: list[Environment] = []
        tells_state = self._look_at_one(action_dim)
        self.unit = unit if unit is not None else ("" if tells_state else "grey levels")
        self._distance = distance or (_euclidean if tells_state else _mean_absolute)

    def _look_at_one(self, action_dim: int | None) -> bool:  # whether it tells its state
        env = self._make_env()
        env.reset(seed=0)
        self.action_dim = action_dim if action_dim is not None else _action_dim(env, self.name)
        self.frame_size = frame_of(env, self.resize).shape[:2]
        self.state_dim = len(state_of(env))
        self._idle.append(env)
        return _told_state(env) is not None

    def tasks(self, count: int, seed: int, split: str = "test") -> Tasks:
        if split not in SPLITS:
            raise ValueError(f"split '{split}' of {self.name} must be one of {', '.join(SPLITS)}")
        rows = [self._task(generator_for(seed, Purpose.TASK, SPLITS.index(split), n)) for n in range(count)]
        return Tasks(*(np.concatenate(part) for part in zip(*rows, strict=True)))

    def _task(self, generator: np.random.Generator) -> Tasks:  # one row
        seed = int(generator.integers(2**31))
        env = self._borrow()
        env.reset(seed=seed)
        start = state_of(env)[None]
        self._idle.append(env)
        task = Tasks(start, start, np.zeros((1, 0)), np.array([seed]))
        return task._replace(goals=self._at_goal(task).states)

    def _at_goal(self, task: Tasks) -> "SingleWorldsWorld":  # one row; a function of its start and seed
        farthest = 0.0
        for attempt in range(GOAL_TRIES):
            seed = generator_for(int(task.seeds[0]), Purpose.TASK, attempt).integers(2**31)
            world = self.begin(task)
            self.goal_behaviour.begin(self, task._replace(seeds=np.array([seed])), self.goal_steps)
            for _ in range(self.goal_steps):
                world.step(self.goal_behaviour.act(world))
            farthest = max(farthest, float(self._distance(world.states, task.starts)[0]))
            if farthest > self.radii[0]:
                return world
        raise ValueError(
            f"in {GOAL_TRIES} tries of {self.goal_steps} steps nothing in {self.name} came farther than {farthest:.3g} "
            f"{self.unit} from its start, and the largest radius is {self.radii[0]:g}: every goal would be reached by "
            f"doing nothing; give more goal_steps, smaller radii, or a goal_behaviour that does more"
        )

    def begin(self, tasks: Tasks) -> "SingleWorldsWorld":
        envs = [self._borrow() for _ in tasks.seeds]
        for env, seed, start in zip(envs, tasks.seeds, tasks.starts, strict=True):
            env.reset(seed=int(seed))
            self._bring_to(env, start)
        world = SingleWorldsWorld(envs, self.action_limit, self.resize)
        weakref.finalize(world, self._idle.extend, envs)  # making an environment can take a second
        return world

    def _borrow(self) -> Environment:
        return self._idle.pop() if self._idle else self._make_env()

    def _bring_to(self, env: Environment, state: np.ndarray) -> None:
        if np.array_equal(state_of(env), state):
            return  # what a state does not tell of an environment stays as it is
        inner = getattr(env, "unwrapped", env)
        if not isinstance(inner, CanBeSet):
            raise ValueError(
                f"{self.name} can only begin where its reset(seed=...) leads to, and that is another state than the "
                f"task's; give the environment a method set_state(state), or see that reset depends on the seed alone"
            )
        inner.set_state(state)

    def render_goals(self, tasks: Tasks) -> np.ndarray:
        probe = self._idle[-1] if self._idle else self._borrow()
        if isinstance(getattr(probe, "unwrapped", probe), CanBeSet):
            return self.begin(tasks._replace(starts=tasks.goals)).render()
        return np.concatenate([self._replayed_goal(tasks.rows(slice(n, n + 1))) for n in range(len(tasks.seeds))])

    def _replayed_goal(self, task: Tasks) -> np.ndarray:  # (1, H, W, 3)
        """Whoever can't be brought to the goal is led there again."""
        world = self._at_goal(task)
        if not np.array_equal(world.states, task.goals):
            raise ValueError(
                f"{self.name} does not come to the task's goal again, so its frame can't be drawn; give the "
                f"environment a method set_state(state), or see that the same seed and actions lead to the same state"
            )
        return world.render()

    def distances(self, tasks: Tasks, states: np.ndarray) -> np.ndarray:
        return self._distance(states, tasks.goals)

    def shortest_paths(self, tasks: Tasks) -> np.ndarray:
        return np.full(len(tasks.seeds), np.nan)


class SingleWorldsWorld:
    """Environments side by side, each with an episode of its own."""

    def __init__(self, envs: list[Environment], action_limit: ActionLimit, resize: tuple[int, int] | None):
        self._envs = envs
        self._limit = action_limit
        self._resize = resize

    @property
    def states(self) -> np.ndarray:  # (B, S)
        return np.stack([state_of(env) for env in self._envs])

    def step(self, actions: np.ndarray) -> None:
        for env, action in zip(self._envs, self._limit.bounded_array(np.asarray(actions, float)), strict=True):
            env.step(action.astype(np.float32))

    def render(self) -> np.ndarray:
        return np.stack([frame_of(env, self._resize) for env in self._envs])


def state_of(env: Environment) -> np.ndarray:  # (S,) float64
    state = _told_state(env)
    if state is None:
        state = cv2.cvtColor(frame_of(env, (GREY_SIZE, GREY_SIZE)), cv2.COLOR_RGB2GRAY)
    return np.array(state, float).reshape(-1)


def _told_state(env: Environment) -> Any:  # None if it tells none
    inner = getattr(env, "unwrapped", env)
    return inner.get_state() if isinstance(inner, TellsState) else getattr(inner, "state", None)


def frame_of(env: Environment, size: tuple[int, int] | None) -> np.ndarray:  # (H, W, 3) uint8
    frame = np.asarray(env.render())
    if frame.ndim != 3 or frame.shape[-1] != 3 or frame.dtype != np.uint8:
        raise ValueError(
            f"render() of an environment must return (H, W, 3) uint8, not {frame.shape} {frame.dtype}; one of "
            f"gymnasium's must be made with render_mode='rgb_array'"
        )
    if size is None or frame.shape[:2] == tuple(size):
        return frame
    return cv2.resize(frame, (size[1], size[0]), interpolation=cv2.INTER_AREA)


def _action_dim(env: Environment, name: str) -> int:
    shape = getattr(getattr(env, "action_space", None), "shape", None)
    if not shape or len(shape) != 1:
        raise ValueError(
            f"the actions of {name} must be arrays of one axis, and its action_space does not say how long they are; "
            f"give action_dim, or wrap the environment so that its step takes such an array"
        )
    return int(shape[0])


def _euclidean(states: np.ndarray, goals: np.ndarray) -> np.ndarray:
    return np.linalg.norm(states - goals, axis=-1)


def _mean_absolute(states: np.ndarray, goals: np.ndarray) -> np.ndarray:
    return np.abs(states - goals).mean(-1)
