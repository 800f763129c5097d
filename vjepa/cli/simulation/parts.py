"""Parts of simulations as recipes name them, by `class_path`: the command line's parser knows a kind by its methods.

It refuses protocols that have attributes, too, as `Suite` and `Planner` have.
"""

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from vjepa.envs.world import Tasks
from vjepa.planning.planner import Plan, Problem


@runtime_checkable
class AnySuite(Protocol):
    """A `vjepa.envs.world.Suite`, e.g. vjepa.envs.two_rooms.TwoRooms."""

    def render_goals(self, tasks: Tasks) -> np.ndarray: ...


@runtime_checkable
class AnyPlanner(Protocol):
    """A `vjepa.planning.planner.Planner`, e.g. vjepa.planning.cross_entropy.CrossEntropyMethod."""

    def plan(self, problem: Problem, generator: torch.Generator, previous: Tensor | None = None) -> Plan: ...
