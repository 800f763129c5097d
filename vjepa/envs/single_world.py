"""A suite of your own environments, which run one at a time and have `reset`, `step` and `render`.

Environments of gymnasium have them:

* `reset(seed=...)` begins an episode; the same seed and actions must always lead to the same states;
* `step(action)` takes an array of A floats; its return value is ignored, as there are no rewards and no terminations;
* `render()` returns (H, W, 3) uint8.

An environment may also have its state, an array of numbers, as `get_state()` or `state`, and be brought to a state by
`set_state(state)`. Without a state, a small grey copy of its frame is its state, and the distance to a goal is the mean
absolute difference of the two copies, in grey levels from 0 to 255.
"""

import inspect
import math
import weakref
from collections.abc import Callable
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float, Float64, UInt8

from vjepa.data.randomness import Purpose, generator_for
from vjepa.envs.behaviour import Behaviour, RandomWalk
from vjepa.envs.world import Tasks
from vjepa.planning.limits import ActionLimit

GREY_SIZE = 16  # of the frame copy in place of an unknown state
GOAL_TRIES = 50
Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@runtime_checkable
class Environment(Protocol):
    def reset(self, *, seed: int) -> Any: ...

    def step(self, action: np.ndarray) -> Any: ...

    def render(self) -> Any: ...


@runtime_checkable
class HasState(Protocol):
    def get_state(self) -> np.ndarray: ...  # (S,)


@runtime_checkable
class Settable(Protocol):
    def set_state(self, state: np.ndarray) -> None: ...  # get_state then returns exactly this state


class SingleWorlds:
    """A suite of environments that run one at a time.

    In a recipe, `make_env` and `distance` are import paths, e.g. `make_env: my_package.my_module.MyEnvironment`.

    A goal is the state after `goal_steps` steps of a behaviour from the start, so every goal can be reached. If it is
    no farther away than the largest radius, other random numbers are tried.

    Args:
        make_env: an environment class, or a function that returns an environment.
        radii: distances to the goal that count as success, largest first.
        action_dim: numbers of an action; read from `action_space` if None.
        unit: of distances; "grey levels" if None and the environment has no state.
        distance: from states (B, S) to goals (B, S); if None, the Euclidean norm of their difference, or the mean
            absolute difference of grey copies if the environment has no state.
        goal_steps: of the behaviour that leads to a goal.
        goal_behaviour: leads to goals; a random walk of actions if None.
        frame_size: height and width to which frames are resized; as rendered if None.
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
        env = make_env()
        _check_methods(env, name)
        env.reset(seed=0)
        self.action_dim = _read_action_dim(env, action_dim, name)
        self.frame_size = _render(env, frame_size).shape[:2]
        self.state_dim = len(_read_state(env))
        self._idle.append(env)
        has_state = _own_state(env) is not None
        self.unit = unit if unit is not None else ("" if has_state else "grey levels")
        self._distance = distance
        self._has_state = has_state

    def tasks(self, count: int, seed: int, split: str = "test") -> Tasks:
        if split not in SPLITS:
            raise ValueError(f"split '{split}' of {self.name} must be one of {', '.join(SPLITS)}")
        rows = [self._task(generator_for(seed, Purpose.TASK, SPLITS.index(split), n)) for n in range(count)]
        return Tasks(*(np.concatenate(part) for part in zip(*rows, strict=True)))

    def _task(self, generator: np.random.Generator) -> Tasks:
        seed = int(generator.integers(2**31))
        env = self._borrow()
        env.reset(seed=seed)
        start = _read_state(env)[None]
        self._idle.append(env)
        task = Tasks(start, start, np.zeros((1, 0)), np.array([seed]))
        return task._replace(goals=self._world_at_goal(task).states)

    def _world_at_goal(self, task: Tasks) -> "SingleWorldsWorld":
        """For one task, as a function of its start and seed."""
        farthest = 0.0
        for attempt in range(GOAL_TRIES):
            seed = generator_for(int(task.seeds[0]), Purpose.TASK, attempt).integers(2**31)
            world = self.begin(task)
            self.goal_behaviour.begin(self, task._replace(seeds=np.array([seed])), self.goal_steps)
            for _ in range(self.goal_steps):
                world.step(self.goal_behaviour.act(world))
            farthest = max(farthest, float(self._distances(world.states, task.starts)[0]))
            if farthest > self.radii[0]:
                return world
        raise ValueError(
            f"in {GOAL_TRIES} tries of {self.goal_steps} steps {self.name} came no farther than {farthest:.3g} "
            f"{self.unit} from its start, and the largest radius is {self.radii[0]:g}: every goal would be reached "
            f"without acting; give more goal_steps, smaller radii, or a goal_behaviour that goes farther"
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
        env: Environment = self._idle.pop() if self._idle else self._make_env()
        return env

    def _bring_to(self, env: Environment, state: np.ndarray) -> None:
        if np.array_equal(_read_state(env), state):
            return  # what the state does not include remains unchanged
        inner = getattr(env, "unwrapped", env)
        if not isinstance(inner, Settable):
            raise ValueError(
                f"{self.name} can only begin where its reset(seed=...) leads to, and that is another state than the "
                f"task's; give the environment a method set_state(state), or make reset depend on the seed alone"
            )
        inner.set_state(state)

    def render_goals(self, tasks: Tasks) -> np.ndarray:
        probe = self._idle[-1] if self._idle else self._borrow()
        if isinstance(getattr(probe, "unwrapped", probe), Settable):
            return self.begin(tasks._replace(starts=tasks.goals)).render()
        return np.concatenate([self._replayed_goal(tasks.rows(slice(n, n + 1))) for n in range(len(tasks.seeds))])

    def _replayed_goal(self, task: Tasks) -> UInt8[np.ndarray, "1 H W 3"]:
        """Without `set_state`, the behaviour leads to the goal again."""
        world = self._world_at_goal(task)
        if not np.array_equal(world.states, task.goals):
            raise ValueError(
                f"{self.name} does not come to the task's goal again, so its frame can't be drawn; give the "
                f"environment a method set_state(state), or make the same seed and actions lead to the same state"
            )
        return world.render()

    def distances(self, tasks: Tasks, states: Float[np.ndarray, "B S"]) -> Float[np.ndarray, " B"]:
        return self._distances(states, tasks.goals)

    def _distances(self, states: Float[np.ndarray, "B S"], goals: Float[np.ndarray, "B S"]) -> Float[np.ndarray, " B"]:
        if self._distance is not None:
            return self._distance(states, goals)
        return np.linalg.norm(states - goals, axis=-1) if self._has_state else np.abs(states - goals).mean(-1)

    def shortest_paths(self, tasks: Tasks) -> Float[np.ndarray, " B"]:
        return np.full(len(tasks.seeds), np.nan)


class SingleWorldsWorld:
    """Environments, each with an episode of its own."""

    def __init__(self, envs: list[Environment], action_limit: ActionLimit, resize: tuple[int, int] | None):
        self._envs = envs
        self._limit = action_limit
        self._resize = resize

    @property
    def states(self) -> Float64[np.ndarray, "B S"]:
        return np.stack([_read_state(env) for env in self._envs])

    def step(self, actions: Float[np.ndarray, "B A"]) -> None:
        for env, action in zip(self._envs, self._limit.bounded_array(np.asarray(actions, float)), strict=True):
            env.step(action.astype(np.float32))

    def render(self) -> UInt8[np.ndarray, "B H W 3"]:
        return np.stack([_render(env, self._resize) for env in self._envs])


def _read_state(env: Environment) -> Float64[np.ndarray, " S"]:
    state = _own_state(env)
    if state is None:
        state = cv2.cvtColor(_render(env, (GREY_SIZE, GREY_SIZE)), cv2.COLOR_RGB2GRAY)
    try:
        numbers = np.array(state, float).reshape(-1)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if not numbers.size or not np.isfinite(numbers).all():
        raise ValueError(
            f"get_state() or `state` of an environment must be an array of finite numbers, not {state!r:.200}; return "
            "one, such as np.concatenate of a dict's arrays"
        )
    return numbers


def _own_state(env: Environment) -> Any:
    inner = getattr(env, "unwrapped", env)
    return inner.get_state() if isinstance(inner, HasState) else getattr(inner, "state", None)


def _render(env: Environment, size: tuple[int, int] | None) -> UInt8[np.ndarray, "H W 3"]:
    drawn = env.render()
    try:
        frame = np.asarray(drawn)
    except ValueError:  # lists of lists of different lengths
        frame = np.empty(0)
    if frame.ndim != 3 or frame.shape[-1] != 3 or frame.dtype != np.uint8:
        raise ValueError(
            f"render() of an environment must return (H, W, 3) uint8, not {frame.shape} {frame.dtype}; one of "
            f"gymnasium's must be made with render_mode='rgb_array'"
        )
    if size is None or frame.shape[:2] == tuple(size):
        return frame
    return cv2.resize(frame, (size[1], size[0]), interpolation=cv2.INTER_AREA)


def _check_methods(env: object, name: str) -> None:
    """Raise ValueError where a method is absent or takes other arguments."""
    calls: dict[str, tuple[str, dict[str, int] | None]]
    calls = {"reset": ("reset(seed=0)", {"seed": 0}), "step": ("step(action)", None), "render": ("render()", {})}
    inner = getattr(env, "unwrapped", env)
    if isinstance(inner, HasState):
        calls["get_state"] = "get_state()", {}
    for method, (call, arguments) in calls.items():
        function = getattr(inner if method == "get_state" else env, method, None)
        if not callable(function):
            raise ValueError(f"{name} has no method {method}; wrap the environment in one that takes {call}")
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):  # compiled functions may have none
            continue
        try:
            signature.bind(None) if arguments is None else signature.bind(**arguments)
        except TypeError as error:
            raise ValueError(
                f"{method}{signature} of {name} can't be called as {call}: {error}; wrap it in one that can"
            ) from None


def _read_action_dim(env: Environment, given: int | None, name: str) -> int:
    space = getattr(env, "action_space", None)
    shape, dtype = getattr(space, "shape", None), getattr(space, "dtype", None)
    is_discrete = hasattr(space, "n") or (dtype is not None and np.dtype(dtype).kind != "f")
    is_other = space is not None and given is not None and (shape is None or math.prod(shape) != given)
    if is_discrete or is_other:
        raise ValueError(
            f"actions of {name} are {space!r:.200}, and step must take an array of {given or 'A'} floats; wrap the "
            "environment so that it does"
        )
    if given is not None:
        return given
    if not shape or len(shape) != 1:
        raise ValueError(
            f"the actions of {name} must be arrays of one axis, and its action_space does not state their length; "
            f"give action_dim, or wrap the environment so that its step takes such an array"
        )
    return int(shape[0])
