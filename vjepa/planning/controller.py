"""Receding horizon: plan, execute the first actions, observe, plan again from the rest of the plan."""

import time
from typing import NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.planning.planner import Plan, Planner, Problem


class PlanningTime(NamedTuple):
    """Time that planning has taken so far."""

    plans: int
    processor_seconds: float
    seconds: float


@final
class RecedingHorizon:
    """Plans of several episodes, each planned separately with its own generator.

    Args:
        planner: of one episode.
        seeds: of the episodes.
        replan_every: actions of a plan that are executed before the next plan.
        warm_start: start a search from the rest of the last plan, its last action repeated.
    """

    def __init__(self, planner: Planner, seeds: np.ndarray, replan_every: int = 1, warm_start: bool = True):
        if not 1 <= replan_every <= planner.horizon:
            raise ValueError(
                f"replan_every ({replan_every}) must be from 1 to the planner's horizon ({planner.horizon})"
            )
        self.planner = planner
        self.replan_every = replan_every
        self.warm_start = warm_start
        self.spent = PlanningTime(0, 0.0, 0.0)
        self._generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        self._previous: list[Tensor | None] = [None] * len(seeds)

    def plan(self, problems: list[Problem]) -> list[Plan]:
        """A plan for each episode, of which the caller executes the first `replan_every` actions."""
        processor, wall = time.process_time(), time.perf_counter()
        plans = []
        for number, problem in enumerate(problems):
            plan = self.planner.plan(problem, self._generators[number], self._previous[number])
            plans.append(plan)
            if self.warm_start:
                self._previous[number] = shifted(plan.actions, self.replan_every)
        self.spent = PlanningTime(
            self.spent.plans + len(plans),
            self.spent.processor_seconds + time.process_time() - processor,
            self.spent.seconds + time.perf_counter() - wall,
        )
        return plans


def shifted(actions: Float[Tensor, "H A"], steps: int) -> Float[Tensor, "H A"]:
    """The rest after so many actions, the last one repeated."""
    return torch.cat((actions[steps:], actions[-1:].expand(min(steps, len(actions)), -1)))[: len(actions)]


def repeated(
    actions: Float[Tensor, "... A"],  # one action per chunk
    frame_step: int,
) -> Float[Tensor, "... frame_step_A"]:  # the same action at each raw step
    return actions.repeat(*(1,) * (actions.ndim - 1), frame_step)
