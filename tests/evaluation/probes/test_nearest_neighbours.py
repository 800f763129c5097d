"""Votes of neighbours, held against the plain formula."""

import math

import pytest
import torch

from vjepa.evaluation.probes.nearest_neighbours import NEIGHBOURS, TEMPERATURE, best_num_neighbours, neighbour_votes


def plain_votes(bank, labels, query, num_neighbours: int, num_classes: int) -> list[float]:
    centre = bank.mean(0)
    cosines = [float(torch.cosine_similarity(row - centre, query - centre, dim=0)) for row in bank]
    votes = [0.0] * num_classes
    for place in sorted(range(len(bank)), key=lambda place: -cosines[place])[:num_neighbours]:
        votes[int(labels[place])] += math.exp(cosines[place] / TEMPERATURE)
    return votes


def drawn(num_clips: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_clips, 5, generator=generator), torch.randint(4, (num_clips,), generator=generator)


@pytest.mark.parametrize("num_neighbours", [1, 3, 20])
def test_votes_are_the_formulas(num_neighbours):
    (bank, labels), (queries, _) = drawn(30), drawn(7, seed=1)
    votes = neighbour_votes(bank, labels, queries, num_neighbours, 4)
    plain = torch.tensor([plain_votes(bank, labels, query, num_neighbours, 4) for query in queries])
    torch.testing.assert_close(votes, plain, rtol=1e-4, atol=1e-6)
    in_blocks = neighbour_votes(bank, labels, queries, num_neighbours, 4, block=3)
    torch.testing.assert_close(votes, in_blocks)


def test_votes_see_neither_an_offset_nor_the_scale_of_features():
    (bank, labels), (queries, _) = drawn(30), drawn(7, seed=1)
    votes = neighbour_votes(bank, labels, queries, 5, 4)
    moved = neighbour_votes(3 * bank + 100, labels, 3 * queries + 100, 5, 4)
    torch.testing.assert_close(votes, moved, rtol=1e-2, atol=1e-2)


def test_the_nearest_of_a_clip_in_the_bank_is_itself():
    bank, labels = drawn(30)
    assert neighbour_votes(bank, labels, bank, 1, 4).argmax(1).equal(labels)
    assert best_num_neighbours(bank, labels, bank, labels, 4) == 1  # the fewest among equals


def test_more_neighbours_help_where_single_labels_are_wrong():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 2
    directions = torch.eye(8)[labels] * 3
    bank, queries = (directions + 0.5 * torch.randn(200, 8, generator=generator) for _ in range(2))
    noisy = torch.where(torch.rand(200, generator=generator) < 0.3, 1 - labels, labels)
    count = best_num_neighbours(bank, noisy, queries, labels, 2)
    one, many = (
        float((neighbour_votes(bank, noisy, queries, k, 2).argmax(1) == labels).float().mean()) for k in (1, count)
    )
    assert count in NEIGHBOURS[2:] and many > one + 0.1


def test_a_bank_may_hold_fewer_clips_than_neighbours_are_asked_and_lack_a_class():
    bank, labels = torch.eye(3), torch.tensor([0, 1, 3])
    votes = neighbour_votes(bank, labels, torch.eye(3), 20, 5)
    assert votes.argmax(1).tolist() == [0, 1, 3] and votes[:, [2, 4]].eq(0).all()
    alone = neighbour_votes(bank[:1], labels[:1], torch.eye(3), 20, 5)  # it is its own centre
    assert alone.isfinite().all() and alone.argmax(1).tolist() == [0, 0, 0]
