"""Baseline policies that do not plan."""

import numpy as np
from jaxtyping import Float

from vjepa.envs.behaviour import Behaviour
from vjepa.envs.world import Suite, Tasks, World


class StraightLine:
    """Moves straight from the agent's true state to the goal.

    The first numbers of a state are assumed to be those that the numbers of an action change.
    """

    def begin(self, suite: Suite, tasks: Tasks) -> None:
        if suite.action_dim > suite.state_dim:
            raise ValueError(
                f"there is no straight line in {suite.name}: actions have {suite.action_dim} numbers, and states only "
                f"{suite.state_dim}; leave the straight line out of the baselines"
            )
        self._goals = tasks.goals
        self._action_dim = suite.action_dim

    def act(self, world: World) -> Float[np.ndarray, "B A"]:
        return (self._goals - world.states)[:, : self._action_dim]


class BehaviourPolicy:
    """Acts as in data collection, without regard to goals."""

    def __init__(self, behaviour: Behaviour, steps: int):
        self._behaviour = behaviour
        self._steps = steps

    def begin(self, suite: Suite, tasks: Tasks) -> None:
        self._behaviour.begin(suite, tasks, self._steps)

    def act(self, world: World) -> Float[np.ndarray, "B A"]:
        return self._behaviour.act(world)
