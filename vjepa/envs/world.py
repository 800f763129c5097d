"""Simulated worlds: batches of episodes that are stepped together, each with a goal to reach.

A `Suite` makes tasks and worlds; a `World` is running episodes. Two Rooms computes them in arrays; simulators of one
environment at a time go through `vjepa.envs.single_world`.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float64, Int64, UInt8

from vjepa.planning.limits import ActionLimit


class Tasks(NamedTuple):
    """Starts and goals of episodes. A row determines its episode."""

    starts: Float64[np.ndarray, "B S"]  # states
    goals: Float64[np.ndarray, "B S"]  # states
    layouts: Float64[np.ndarray, "B L"]  # what is constant in an episode; L may be 0
    seeds: Int64[np.ndarray, " B"]  # of all randomness

    def rows(self, which: "slice | Int64[np.ndarray, ' n']") -> "Tasks":
        return Tasks(*(part[which] for part in self))


@runtime_checkable
class World(Protocol):
    """Running episodes. No episode depends on the others of the batch."""

    @property
    def states(self) -> Float64[np.ndarray, "B S"]: ...  # in the world's own units

    def step(self, actions: Float[np.ndarray, "B A"]) -> None: ...  # bounded by the limit

    def render(self) -> UInt8[np.ndarray, "B H W 3"]: ...


@runtime_checkable
class Suite(Protocol):
    """A kind of world and its tasks."""

    name: str
    action_dim: int
    state_dim: int
    action_limit: ActionLimit
    frame_size: tuple[int, int]  # height, width
    radii: tuple[float, ...]  # distances to the goal that count as success, largest first
    unit: str  # of states and distances, e.g. "px"

    def tasks(self, count: int, seed: int, split: str) -> Tasks:
        """Draw tasks; the n-th depends on seed, split and n alone. Raises ValueError at an unknown split."""
        ...

    def begin(self, tasks: Tasks) -> World:
        """Episodes at their starts."""
        ...

    def render_goals(self, tasks: Tasks) -> UInt8[np.ndarray, "B H W 3"]: ...

    def distances(self, tasks: Tasks, states: Float[np.ndarray, "B S"]) -> Float[np.ndarray, " B"]:
        """Distances from states to goals, in `unit`."""
        ...

    def shortest_paths(self, tasks: Tasks) -> Float[np.ndarray, " B"]:
        """Lengths of the shortest paths from start to goal, in `unit`; NaN if unknown."""
        ...
