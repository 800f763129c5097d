"""The temporal distance: its loss by hand, and blocks of the shortest way where a wall makes that a detour."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vjepa.objectives.world.temporal_distance import TemporalDistance

SIDE, WALL, DOOR = 7, 3, 1  # a square of cells, with a wall in column 3 whose door is in row 1


def is_free(x: int, y: int) -> bool:
    return 0 <= x < SIDE and 0 <= y < SIDE and (x != WALL or y == DOOR)


CELLS = [(x, y) for x in range(SIDE) for y in range(SIDE) if is_free(x, y)]
NEIGHBOURS = {
    cell: [
        near
        for dx, dy in ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))
        if is_free(*(near := (cell[0] + dx, cell[1] + dy)))
    ]
    for cell in CELLS
}


def shortest_ways(goal: tuple[int, int]) -> dict[tuple[int, int], int]:
    """Steps from every cell, by breadth-first search."""
    steps, edge = {goal: 0}, [goal]
    for cell in edge:
        for near in NEIGHBOURS[cell]:
            if near not in steps:
                steps[near] = steps[cell] + 1
                edge.append(near)
    return steps


def latents_of(cells: list[tuple[int, int]]) -> Tensor:  # (B, 1, 2), from which nobody sees the wall
    return torch.tensor(cells, dtype=torch.float32).unsqueeze(1)


def learned_from_random_walks(steps: int = 1000, batch: int = 256) -> TemporalDistance:
    generator = np.random.default_rng(0)
    torch.manual_seed(0)
    distance = TemporalDistance(embed_dim=2, hidden_dim=64, output_dim=16, expectile=0.97)
    distance.fit_standardization(latents_of(CELLS))
    optimizer = torch.optim.AdamW(distance.network.parameters(), lr=2e-3)
    for _ in range(steps):
        now = [CELLS[k] for k in generator.integers(len(CELLS), size=batch)]
        after = [NEIGHBOURS[cell][generator.integers(len(NEIGHBOURS[cell]))] for cell in now]
        goals = [CELLS[k] for k in generator.integers(len(CELLS), size=batch)]
        arrived = torch.tensor([cell == goal for cell, goal in zip(now, goals, strict=True)])
        loss = distance.loss(latents_of(now), latents_of(after).unsqueeze(1), latents_of(goals), arrived)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        distance.update_target()
    return distance


@pytest.mark.slow
def test_random_walks_teach_the_way_through_the_door():
    distance = learned_from_random_walks()
    goal = (WALL + 1, SIDE - 1)
    steps = shortest_ways(goal)
    with torch.no_grad():
        learned = distance(latents_of(list(steps)), latents_of([goal]))
    true = torch.tensor(list(steps.values()), dtype=torch.float32)
    assert torch.corrcoef(torch.stack((learned, true)))[0, 1] > 0.95
    at = dict(zip(steps, learned.tolist(), strict=True))
    behind_the_wall, before_the_door = (WALL - 1, SIDE - 1), (WALL - 1, DOOR)
    assert at[before_the_door] < at[behind_the_wall] - 1  # as the crow flies the other way round: 2 and 5.4


def by_hand(**settings) -> TemporalDistance:
    """Whose embeddings are the latents themselves."""
    distance = TemporalDistance(embed_dim=2, **settings)
    distance.network, distance.target_network = nn.Identity(), nn.Identity()
    return distance


@pytest.mark.parametrize(
    ("after", "arrived", "loss"),
    [
        ([[3.0, 0.0]], False, 0.9 * (4 - (1 + 0.5 * 3)) ** 2),  # 4 is too long: its share is 0.9
        ([[9.0, 0.0]], False, 0.1 * (4 - (1 + 0.5 * 9)) ** 2),  # 4 is too short: 0.1
        ([[9.0, 0.0], [0.0, 3.0]], False, 0.9 * (4 - (1 + 0.5 * 3)) ** 2),  # the nearer counts
        ([[3.0, 0.0]], True, 0.9 * 4**2),
    ],
)
def test_the_loss_by_hand(after, arrived, loss):
    distance = by_hand(expectile=0.9, discount=0.5)
    now, goal = torch.tensor([[[4.0, 0.0]]]), torch.zeros(1, 1, 2)
    after = torch.tensor([after]).unsqueeze(2)
    assert distance.loss(now, after, goal, torch.tensor([arrived])).item() == pytest.approx(loss)


def test_gradients_reach_the_network_alone_and_its_average_follows():
    distance = TemporalDistance(embed_dim=2, hidden_dim=8, momentum=0.75)
    before = [parameter.clone() for parameter in distance.target_network.parameters()]
    now, goals, after = torch.randn(4, 3, 2), torch.randn(4, 3, 2), torch.randn(4, 5, 3, 2)
    distance.loss(now, after, goals, torch.zeros(4, dtype=torch.bool)).backward()
    assert all(parameter.grad is not None for parameter in distance.network.parameters())
    assert all(parameter.grad is None for parameter in distance.target_network.parameters())
    with torch.no_grad():
        for parameter in distance.network.parameters():
            parameter.add_(1)
    distance.update_target()
    for old, new in zip(before, distance.target_network.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.25)


def test_there_and_back_are_as_far_and_no_third_place_is_a_short_cut():
    distance = TemporalDistance(embed_dim=3)
    first, second, third = torch.randn(3, 5, 2, 3)
    torch.testing.assert_close(distance(first, second), distance(second, first))
    assert (distance(first, second) <= distance(first, third) + distance(third, second) + 1e-6).all()


def test_at_the_goal_gradients_are_finite():
    distance, latents = TemporalDistance(embed_dim=3), torch.randn(2, 1, 3, requires_grad=True)
    distance(latents, latents.detach()).sum().backward()
    assert latents.grad is not None and latents.grad.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"expectile": 0.3}, r"expectile \(0.3\) must be from 0.5 to below 1"),
        ({"discount": 1.0}, r"discount \(1.0\) must be from 0 to below 1"),
        ({"momentum": 1.5}, r"momentum \(1.5\) must be from 0 to 1"),
        ({"depth": 0}, r"depth \(0\)"),
    ],
)
def test_what_can_not_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TemporalDistance(embed_dim=4, **settings)
