"""What a simulated world is: a batch of episodes that are stepped together, each with a goal to reach.

`Suite` makes tasks and worlds; `World` is episodes that run. Two Rooms does both in arrays; one environment at a time,
as most simulators are, goes through `vjepa.envs.single_world`.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from vjepa.planning.limits import ActionLimit


class Tasks(NamedTuple):
    """Where episodes start and what they must reach; one row for each, and a row decides everything about it."""

    starts: np.ndarray  # (B, S) float64, states
    goals: np.ndarray  # (B, S) float64, states
    layouts: np.ndarray  # (B, L) float64, what doesn't change in an episode; L may be 0
    seeds: np.ndarray  # (B,) int64, of whatever happens by chance

    def rows(self, which: slice | np.ndarray) -> "Tasks":
        return Tasks(*(part[which] for part in self))


@runtime_checkable
class World(Protocol):
    """Episodes that run. Nothing in an episode may depend on the other episodes of the batch."""

    @property
    def states(self) -> np.ndarray: ...  # (B, S) float64, the agent's, in the world's own units

    def step(self, actions: np.ndarray) -> None: ...  # (B, A); longer ones are cut down to the limit

    def render(self) -> np.ndarray: ...  # (B, H, W, 3) uint8


@runtime_checkable
class Suite(Protocol):
    """A kind of world: what can be asked of it, and how to begin."""

    name: str
    action_dim: int
    state_dim: int
    action_limit: ActionLimit
    frame_size: tuple[int, int]  # height, width
    radii: tuple[float, ...]  # success: distances to the goal, largest first
    unit: str  # of states and distances, e.g. "px"

    def tasks(self, count: int, seed: int, split: str) -> Tasks:
        """Draw tasks; the n-th depends on seed, split and n alone. Raises ValueError at an unknown split."""
        ...

    def begin(self, tasks: Tasks) -> World:
        """Episodes at their starts."""
        ...

    def render_goals(self, tasks: Tasks) -> np.ndarray:
        """(B, H, W, 3) uint8: what the world looks like where the goal is reached."""
        ...

    def distances(self, tasks: Tasks, states: np.ndarray) -> np.ndarray:
        """(B,): from states (B, S) to the goals, in `unit`."""
        ...

    def shortest_paths(self, tasks: Tasks) -> np.ndarray:
        """(B,): length of the shortest way from start to goal, in `unit`; NaN where it is not known."""
        ...
