"""Plan, act, look, plan again: plans go on, episodes keep to themselves, and with a true model goals are reached."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from vjepa.envs.two_rooms import TwoRooms
from vjepa.evaluation.planning.goal_reaching import evaluate
from vjepa.evaluation.planning.oracle import OraclePolicy
from vjepa.planning.controller import RecedingHorizon, repeated
from vjepa.planning.cross_entropy import CrossEntropyMethod
from vjepa.planning.gradient import GradientPlanner
from vjepa.planning.icem import ICEM
from vjepa.planning.limits import ActionLimit
from vjepa.planning.mppi import MPPI
from vjepa.planning.planner import Plan, Planner, Problem

RECIPE = Path(__file__).parents[2] / "configs/plan/two_rooms.yaml"
HORIZON = 5
# So few samples that a search from nothing is far from done.
HASTY = {
    "cross-entropy": CrossEntropyMethod(HORIZON, samples=32, elites=4, iterations=2),
    "iCEM": ICEM(HORIZON, samples=32, elites=4, iterations=2),
    "MPPI": MPPI(HORIZON, samples=32, iterations=2),
    "gradient": GradientPlanner(HORIZON, starts=2, steps=4),
}
LIMIT = ActionLimit(1.0, "norm")


def on_the_way_to(goal: Tensor, place: Tensor) -> Problem:
    """A point on a plane that moves by each action; a path costs squared distances to the goal along it."""

    def cost(actions: Tensor) -> Tensor:
        return (place + actions.cumsum(1) - goal).square().sum((1, 2))

    return Problem(cost, place[None], goal[None], 2, LIMIT)


class Noting:
    """A planner that finds nothing, and notes what it is given."""

    horizon = HORIZON

    def __init__(self) -> None:
        self.given: list[tuple[float, Tensor | None]] = []

    def plan(self, problem: Problem, generator: torch.Generator, previous: Tensor | None = None) -> Plan:
        self.given.append((float(torch.rand(1, generator=generator)), previous))
        return Plan(torch.arange(float(HORIZON))[:, None].expand(-1, 2) + 10 * len(self.given), 0.0)


def follow(planner: Planner, warm_start: bool, moves: int = 8) -> float:
    """What plans for a goal that moves cost, after the first, which nobody can start warm; for 6 episodes."""
    controller = RecedingHorizon(planner, np.arange(6), warm_start=warm_start)
    angles = torch.arange(6.0)
    places, cost = torch.zeros(6, 2), 0.0
    for move in range(moves):
        goals = 4 * torch.stack((torch.cos(angles + 0.1 * move), torch.sin(angles + 0.1 * move)), dim=1)
        plans = controller.plan([on_the_way_to(goal, place) for goal, place in zip(goals, places, strict=True)])
        places = places + torch.stack([plan.actions[0] for plan in plans])
        cost += sum(plan.cost for plan in plans) if move else 0.0
    return cost


@pytest.mark.parametrize("name", HASTY)
def test_a_warm_start_is_no_worse_where_the_goal_moves(name):
    assert follow(HASTY[name], warm_start=True) <= follow(HASTY[name], warm_start=False)


def test_a_search_begins_with_what_is_left_of_its_own_episodes_plan():
    planner = Noting()
    controller = RecedingHorizon(planner, np.arange(2), replan_every=2)
    problems = [on_the_way_to(torch.zeros(2), torch.zeros(2))] * 2
    for _ in range(2):
        controller.plan(problems)
    previous = [given[1] for given in planner.given]
    assert previous[:2] == [None, None]
    assert [left[:, 0].tolist() for left in previous[2:]] == [[12, 13, 14, 14, 14], [22, 23, 24, 24, 24]]


def test_without_a_warm_start_every_search_begins_with_nothing():
    planner = Noting()
    controller = RecedingHorizon(planner, np.arange(1), warm_start=False)
    for _ in range(3):
        controller.plan([on_the_way_to(torch.zeros(2), torch.zeros(2))])
    assert [given[1] for given in planner.given] == [None] * 3


def test_every_episode_has_random_numbers_of_its_own_seed_and_they_go_on():
    planner = Noting()
    controller = RecedingHorizon(planner, np.array([5, 9, 5]))
    problems = [on_the_way_to(torch.zeros(2), torch.zeros(2))] * 3
    for _ in range(2):
        controller.plan(problems)
    drawn = [given[0] for given in planner.given]
    assert drawn[0] == drawn[2] and drawn[3] == drawn[5]
    assert len(set(drawn)) == 4


def test_plans_and_their_time_are_counted():
    controller = RecedingHorizon(HASTY["cross-entropy"], np.arange(3))
    for _ in range(2):
        controller.plan([on_the_way_to(torch.ones(2), torch.zeros(2))] * 3)
    assert controller.spent.plans == 6
    assert controller.spent.processor_seconds > 0 and controller.spent.seconds > 0


@pytest.mark.parametrize("limit", [ActionLimit(1.0, "norm"), ActionLimit(0.8, "box")], ids=lambda limit: limit.kind)
@pytest.mark.parametrize("name", HASTY)
def test_a_block_is_its_action_at_every_raw_step_and_each_keeps_to_the_limit(name, limit):
    problem = on_the_way_to(torch.tensor([30.0, -20.0]), torch.zeros(2))._replace(limit=limit)
    (plan,) = RecedingHorizon(HASTY[name], np.arange(1)).plan([problem])
    blocks = repeated(plan.actions, 4)  # (H, 4 * A)
    assert blocks.shape == (HORIZON, 8)
    raw = blocks.view(HORIZON, 4, 2)
    assert torch.equal(raw, plan.actions[:, None].expand(-1, 4, -1))
    sizes = raw.abs() if limit.kind == "box" else torch.linalg.vector_norm(raw, dim=-1)
    assert float(sizes.max()) <= limit.size * (1 + 1e-6)


@pytest.mark.parametrize("replan_every", [0, HORIZON + 1])
def test_a_plan_can_not_be_followed_beyond_its_end(replan_every: int):
    with pytest.raises(ValueError, match=rf"replan_every \({replan_every}\) must be from 1 to the planner's horizon"):
        RecedingHorizon(HASTY["MPPI"], np.arange(1), replan_every)


@pytest.mark.slow
@pytest.mark.parametrize("layouts", ["fixed", "random"])
def test_with_the_worlds_own_dynamics_every_goal_is_touched(layouts):
    """Where the recipe's planner fails although it knows the truth, search is to blame and no model."""
    recipe = yaml.safe_load(RECIPE.read_text())
    planner = CrossEntropyMethod(**recipe["planner"]["init_args"])
    suite = TwoRooms(layouts)
    oracle = OraclePolicy(planner, frame_step=4, replan_every=recipe["replan_every"])
    done = evaluate(oracle, suite, suite.tasks(4, seed=0), steps=140)
    assert done.outcomes.closest.max() < suite.radii[0]
