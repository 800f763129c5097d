"""Laws of planners: they find what there is, keep to the limit, and look at no other episode."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vjepa.planning.controller import RecedingHorizon, repeated, shifted
from vjepa.planning.cost import goal_cost, squared_difference
from vjepa.planning.cross_entropy import CrossEntropyMethod
from vjepa.planning.gradient import GradientPlanner
from vjepa.planning.icem import ICEM, coloured_noise
from vjepa.planning.inverse_model import GoalInverseModel
from vjepa.planning.limits import ActionLimit
from vjepa.planning.mppi import MPPI
from vjepa.planning.planner import Problem, correlated_noise

HORIZON = 6
PLANNERS = {
    "cross-entropy": CrossEntropyMethod(HORIZON, samples=256, iterations=20, kept_std=0.8),
    "iCEM": ICEM(HORIZON, samples=256, iterations=12, noise_beta=0.5, momentum=0.0),
    "MPPI": MPPI(HORIZON, samples=512, iterations=20, temperature=0.05),
    "gradient": GradientPlanner(HORIZON, steps=80),
}
LIMITS = [ActionLimit(1.0, "norm"), ActionLimit(0.8, "box")]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def quadratic(optimum: Tensor, limit: ActionLimit) -> Problem:
    def cost(actions: Tensor) -> Tensor:
        return (actions - optimum).square().sum((1, 2))

    return Problem(cost, torch.zeros(1, 2), torch.zeros(1, 2), optimum.shape[1], limit)


@pytest.fixture(params=PLANNERS)
def planner(request):
    return PLANNERS[request.param]


def test_the_optimum_of_a_quadratic_is_found(planner):
    optimum = 0.5 * torch.sin(0.4 * torch.arange(HORIZON * 2.0)).view(HORIZON, 2)
    plan = planner.plan(quadratic(optimum, ActionLimit(1.0, "norm")), generator())
    assert plan.cost < 0.05
    assert float((plan.actions - optimum).abs().max()) < 0.15


def test_white_noise_of_one_size_finds_optima_that_turn_back_and_forth():
    optimum = 0.5 * torch.tensor([1.0, -1.0]).repeat(HORIZON).view(2, HORIZON).T.contiguous()
    textbook = CrossEntropyMethod(HORIZON, samples=256, iterations=15, finest=1.0, noise_correlation=0.0)
    assert textbook.plan(quadratic(optimum, LIMITS[0]), generator()).cost < 0.02


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.kind)
def test_no_action_is_ever_longer_than_the_limit(planner, limit):
    plan = planner.plan(quadratic(torch.full((HORIZON, 2), 5.0), limit), generator())
    lengths = plan.actions.abs() if limit.kind == "box" else torch.linalg.vector_norm(plan.actions, dim=-1)
    assert float(lengths.max()) <= limit.size * (1 + 1e-6)
    assert float(lengths.mean()) > 0.5 * limit.size  # the optimum lies beyond it
    raw = repeated(plan.actions, 4).view(HORIZON, 4, 2)
    torch.testing.assert_close(raw, plan.actions[:, None].expand(-1, 4, -1), rtol=0, atol=0)


def test_the_same_generator_gives_the_same_plan(planner):
    problem = quadratic(torch.full((HORIZON, 2), 0.3), LIMITS[0])
    first, second = (planner.plan(problem, generator(7)).actions for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def network_problems(count: int) -> list[Problem]:
    """Episodes whose costs come from a network, so that other batch sizes would round in another way."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(HORIZON * 2, 64), nn.SiLU(), nn.Linear(64, 8))
    goals = torch.randn(count, 8)

    def problem(goal: Tensor) -> Problem:
        def cost(actions: Tensor) -> Tensor:
            return (network(actions.flatten(1)) - goal).square().sum(1)

        return Problem(cost, torch.zeros(1, 8), goal[None], 2, LIMITS[0])

    return [problem(goal) for goal in goals]


@pytest.mark.slow
def test_an_episode_alone_is_planned_as_among_64(planner):
    problems, seeds = network_problems(64), np.arange(64)
    together = RecedingHorizon(planner, seeds)
    for _ in range(2):
        plans = together.plan(problems)
    for number in (0, 41):
        alone = RecedingHorizon(planner, seeds[number : number + 1])
        for _ in range(2):
            (plan,) = alone.plan(problems[number : number + 1])
        torch.testing.assert_close(plan.actions, plans[number].actions, rtol=0, atol=0)


def test_a_search_goes_on_from_what_is_left_of_the_plan_before(planner):
    problem = quadratic(torch.full((HORIZON, 2), 0.6), LIMITS[0])
    cold = planner.plan(problem, generator(1))
    warm = planner.plan(problem, generator(2), cold.actions)
    assert warm.cost <= cold.cost + 1e-3


def test_a_plan_is_refined_by_noise_of_all_sizes():
    problem = quadratic(torch.full((HORIZON, 2), 0.3), LIMITS[0])
    good = torch.full((HORIZON, 2), 0.301)
    costs = [
        CrossEntropyMethod(HORIZON, iterations=2, min_std=1e-4, finest=finest).plan(problem, generator(), good).cost
        for finest in (0.003, 1.0)
    ]
    assert costs[0] <= costs[1]


def test_costs_by_hand():
    latents = torch.tensor([[[[1.0, 1.0]], [[3.0, 3.0]]], [[[2.0, 2.0]], [[2.0, 2.0]]]])  # (S, H, 1, 2)
    goal, actions = torch.zeros(1, 2), torch.zeros(2, 2, 1)

    def imagine(given: Tensor) -> Tensor:
        return latents[: len(given)]

    def costs(**settings) -> list[float]:
        return goal_cost(imagine, squared_difference(goal), **settings)(actions).tolist()

    assert costs() == [10.0, 8.0]
    assert costs(over="last") == [9.0, 4.0]
    assert costs(terminal_weight=3.0) == [28.0, 16.0]


def test_how_many_sequences_are_imagined_at_once_changes_nothing():
    def imagine(actions: Tensor) -> Tensor:
        return actions.cumsum(1).unsqueeze(2)

    actions = torch.randn(10, 4, 2, generator=generator())
    whole, parts = (
        goal_cost(imagine, squared_difference(torch.ones(1, 2)), samples_per_pass=size)(actions) for size in (None, 3)
    )
    torch.testing.assert_close(whole, parts)


def test_correlated_noise_has_unit_variance_and_the_correlation_asked_for():
    noise = correlated_noise(4000, 10, 2, 0.8, generator())
    torch.testing.assert_close(noise.var(0), torch.ones(10, 2), rtol=0.1, atol=0)
    torch.testing.assert_close((noise[:, 1:] * noise[:, :-1]).mean(0), torch.full((9, 2), 0.8), rtol=0.1, atol=0)


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("horizon", [1, 9, 10])
def test_coloured_noise_has_unit_variance(beta, horizon):
    noise = coloured_noise(4000, horizon, 2, beta, generator())
    assert noise.shape == (4000, horizon, 2)
    assert float(noise.square().mean()) == pytest.approx(1.0, rel=0.1)


def test_the_rest_of_a_plan_holds_its_last_action():
    assert shifted(torch.tensor([[1.0], [2.0], [3.0]]), 2).tolist() == [[3.0], [3.0], [3.0]]
    assert shifted(torch.tensor([[1.0], [2.0], [3.0]]), 1).tolist() == [[2.0], [3.0], [3.0]]


def test_an_inverse_model_learns_the_way_to_goals_and_keeps_to_the_limit():
    torch.manual_seed(0)
    model, latents, goals = GoalInverseModel(2, 2, 32), torch.randn(256, 1, 2), torch.randn(256, 1, 2)
    actions = (goals - latents).flatten(1)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(200):
        loss = model.loss(latents, goals, actions)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.05
    action = LIMITS[0].bounded(model(torch.zeros(1, 1, 2), torch.tensor([[[3.0, 0.0]]]))).detach()
    assert action.shape == (1, 2)
    torch.testing.assert_close(action, torch.tensor([[1.0, 0.0]]), rtol=0, atol=0.15)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CrossEntropyMethod(samples=8, elites=9), r"elites \(9\) must not be more than samples \(8\)"),
        (lambda: ICEM(horizon=0), r"horizon \(0\)"),
        (lambda: CrossEntropyMethod(finest=0.0), r"finest \(0.0\) must be more than 0"),
        (lambda: MPPI(temperature=0.0), r"temperature \(0.0\) must be more than 0"),
        (
            lambda: goal_cost(lambda actions: actions, lambda latents: latents, "end"),
            "cost over 'end' must be one of path",
        ),
        (lambda: RecedingHorizon(MPPI(horizon=3), np.arange(2), 4), r"replan_every \(4\) must be from 1 to"),
        (lambda: ActionLimit(0.0), "must be more than 0"),
    ],
)
def test_what_can_not_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_previous_plan_of_another_shape_is_refused(planner):
    with pytest.raises(ValueError, match=r"does not fit; it must be \(6 actions, 2 numbers\)"):
        planner.plan(quadratic(torch.zeros(HORIZON, 2), LIMITS[0]), generator(), torch.zeros(3, 2))
