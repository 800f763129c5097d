"""Policies that plan nothing: what a planner must beat in a world."""

import numpy as np

from vjepa.envs.behaviour import Behaviour
from vjepa.envs.world import Suite, Tasks, World


class StraightLine:
    """Knows where the agent and the goal are, and goes there as the crow flies."""

    def begin(self, suite: Suite, tasks: Tasks) -> None:
        self._goals = tasks.goals

    def act(self, world: World) -> np.ndarray:  # (B, A)
        return self._goals - world.states


class Aimless:
    """Behaves as in the data."""

    def __init__(self, behaviour: Behaviour, steps: int):
        self._behaviour = behaviour
        self._steps = steps

    def begin(self, suite: Suite, tasks: Tasks) -> None:
        self._behaviour.begin(suite, tasks, self._steps)

    def act(self, world: World) -> np.ndarray:  # (B, A)
        return self._behaviour.act(world)
