"""Every row once per pass, every rank its share, every source by its weight; all arithmetic in the position."""

import itertools
import pickle

import numpy as np
import pytest

from vjepa.data.order import BatchSampler, MixtureOrder, RowOrder, SampleKey, WeightedChoices
from vjepa.data.randomness import Purpose, generator_for

# --- one source


@pytest.mark.parametrize("seed", [0, 3, 2**40])
@pytest.mark.parametrize("num_rows", [1, 2, 7, 50])
def test_each_pass_shows_every_row_once(num_rows, seed):
    order = RowOrder(num_rows, seed)
    for epoch in range(3):
        assert sorted(order.row(epoch * num_rows + index) for index in range(num_rows)) == list(range(num_rows))


def test_passes_seeds_and_sources_have_orders_of_their_own():
    def rows(seed, source=0, epoch=0):
        order = RowOrder(50, seed, source=source)
        return tuple(order.row(epoch * 50 + index) for index in range(50))

    assert len({rows(3), rows(3, epoch=1), rows(4), rows(3, source=1)}) == 4
    assert rows(3) == rows(3)


def test_an_order_without_shuffling_shows_rows_as_listed_pass_after_pass():
    order = RowOrder(3, seed=0, shuffle=False)
    assert [order.row(index) for index in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_replacements_follow_from_seed_position_and_attempt():
    def drawn(seed):
        order = RowOrder(1000, seed)
        return [order.replacement(position, attempt) for position in range(20) for attempt in (1, 2)]

    assert drawn(0) == drawn(0) != drawn(1)
    assert len(set(drawn(0))) > 30 and all(0 <= row < 1000 for row in drawn(0))


def test_purposes_share_no_random_numbers():
    drawn = {generator_for(seed, purpose, 5).random() for purpose in Purpose for seed in range(3)}
    assert len(drawn) == 3 * len(Purpose)


def test_purposes_keep_their_numbers():
    # A changed number would change every run that is resumed.
    numbers = {
        "ORDER": 0,
        "REPLACEMENT": 1,
        "CLIP": 2,
        "MASK_OF_BATCH": 3,
        "MASK_OF_CLIP": 4,
        "GROUP_OF_BATCH": 5,
        "SOURCE_OF_CLIP": 6,
    }
    assert numbers.items() <= {purpose.name: purpose.value for purpose in Purpose}.items()


# --- ranks


def test_ranks_together_see_what_one_rank_sees():
    def keys(rank, world):
        return list(BatchSampler(6, 4, lambda: (12, 3), rank, world))

    for whole, first, second, third in zip(keys(0, 1), keys(0, 3), keys(1, 3), keys(2, 3), strict=True):
        assert whole == first + second + third
        assert {key.batch_position for key in whole} == {whole[0].position}
    assert keys(0, 1)[0][0] == SampleKey(12, 12) and len(keys(0, 1)) == 3


@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_batches_follow_each_other_without_a_gap_for_any_number_of_ranks(world):
    ranks = [list(BatchSampler(8, 5, lambda: (40, 5), rank, world)) for rank in range(world)]
    keys = [key for batch in zip(*ranks, strict=True) for share in batch for key in share]
    assert [key.position for key in keys] == list(range(40, 80))
    assert all(
        key.batch_position <= key.position < key.batch_position + 8 and key.batch_position % 8 == 0 for key in keys
    )


def test_a_sampler_asks_where_to_start_each_time_and_is_as_long_as_the_epoch():
    places = iter([(0, 5), (10, 2)])
    sampler = BatchSampler(2, 5, lambda: next(places))
    assert len(sampler) == 5
    assert [batch[0].position for batch in sampler] == [0, 2, 4, 6, 8]
    assert [batch[0].position for batch in sampler] == [10, 12]


def test_a_batch_that_ranks_cannot_share_is_refused():
    with pytest.raises(ValueError, match="10 files per batch can't be split over 4 ranks"):
        BatchSampler(10, 1, lambda: (0, 1), 0, 4)


# --- shares by weight


def weighted_choices():
    for seed, block_size, num_choices in itertools.product((0, 1, 2), (10, 57, 200), (1, 2, 3, 5)):
        weights = np.random.default_rng(seed).dirichlet(np.ones(num_choices))
        yield weights, WeightedChoices(weights, block_size, seed, Purpose.SOURCE_OF_CLIP)


def test_each_block_holds_every_choice_by_its_weight_and_at_least_once():
    for weights, choices in weighted_choices():
        size = choices.block_size
        for block in range(3):
            drawn = [choices.at(index)[0] for index in range(block * size, (block + 1) * size)]
            counts = np.bincount(drawn, minlength=len(weights))
            assert counts.tolist() == choices.counts.tolist() and counts.sum() == size and counts.min() >= 1
            if (weights * size >= 1).all():  # else a rare choice takes the place of a common one
                assert np.abs(counts - weights * size).max() < 1


def test_counts_before_a_place_equal_counting_one_by_one():
    for weights, choices in weighted_choices():
        counts = np.zeros(len(weights), int)
        for index in range(choices.block_size * 2 + 7):
            assert choices.counts_before(index).tolist() == counts.tolist()
            choice, before = choices.at(index)
            assert before == counts[choice]
            counts[choice] += 1


def test_a_rare_choice_comes_once_in_each_block():
    choices = WeightedChoices([1.0, 1e-9], 100, 0, Purpose.SOURCE_OF_CLIP)
    assert choices.counts.tolist() == [99, 1]


def test_a_choice_that_was_raised_to_one_gets_no_remainder_too():
    assert WeightedChoices([0.9, 4.5, 4.6], 10, 0, Purpose.SOURCE_OF_CLIP).counts.tolist() == [1, 4, 5]


def test_blocks_seeds_and_numbers_are_shuffled_each_in_its_own_way():
    def block(seed=0, number=0, block=0):
        choices = WeightedChoices([1, 1], 40, seed, Purpose.SOURCE_OF_CLIP, number)
        return tuple(choices.at(block * 40 + index)[0] for index in range(40))

    assert block() == block()
    assert len({block(), block(block=1), block(seed=1), block(number=1)}) == 4


# --- several sources

SIZES = [5, 17, 40]


def mixture(seed=0, weights=(3, 1, 6), groups=None, batch_size=4) -> MixtureOrder:
    orders = [RowOrder(rows, seed, source=k) for k, rows in enumerate(SIZES)]
    return MixtureOrder(orders, weights, groups, batch_size)


def test_one_source_is_the_plain_order():
    for seed, rows, batch_size in itertools.product((0, 1), (3, 10), (1, 4)):
        order = RowOrder(rows, seed)
        mixed = MixtureOrder([RowOrder(rows, seed)], batch_size=batch_size)
        positions = [*range(40), 9_999, 10_000, 10_001, 123_456]
        assert [mixed.draw(position) for position in positions] == [(0, order.row(p)) for p in positions]
        assert mixed.counts_before(123_456).tolist() == [123_456]


@pytest.mark.slow
def test_sources_come_by_their_weights():
    for seed in range(3):
        assert mixture(seed).counts_before(10_000).tolist() == [3000, 1000, 6000]
        early = np.bincount([mixture(seed).draw(position)[0] for position in range(1000)])
        assert np.abs(early - [300, 100, 600]).max() < 60  # and not one after the other


def test_sources_of_several_groups_come_by_their_weights():
    for groups in ([0, 1, 1], [0, 1, 0], [2, 0, 1]):
        counts = mixture(groups=groups).counts_before(40_000)
        assert np.abs(counts / 40_000 - [0.3, 0.1, 0.6]).max() < 0.01


def test_weights_are_equal_where_none_are_given():
    counts = mixture(weights=None).counts_before(10_000)
    assert np.abs(counts - 10_000 / 3).max() < 1


@pytest.mark.parametrize("groups", [None, [0, 1, 1], [1, 0, 1]])
@pytest.mark.parametrize("seed", [0, 5])
def test_each_source_shows_its_rows_once_per_pass(seed, groups):
    order = mixture(seed, groups=groups)
    rows: list[list[int]] = [[] for _ in SIZES]
    for position in range(1200):
        source, row = order.draw(position)
        rows[source].append(row)
    for k, size in enumerate(SIZES):
        assert len(rows[k]) > 2 * size
        assert rows[k] == [RowOrder(size, seed, source=k).row(index) for index in range(len(rows[k]))]
        assert sorted(rows[k][size : 2 * size]) == list(range(size))


@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_all_positions_of_a_batch_are_of_one_group(batch_size):
    groups = [0, 1, 1]
    order = mixture(groups=groups, batch_size=batch_size)
    assert order.num_groups == 2
    seen = set()
    for batch in range(200):
        of_batch = {groups[order.draw(batch * batch_size + inside)[0]] for inside in range(batch_size)}
        assert len(of_batch) == 1
        seen |= of_batch
    assert seen == {0, 1}


@pytest.mark.parametrize("groups", [None, [0, 1, 1], [0, 1, 2]])
@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_counts_before_equals_a_plain_count(batch_size, groups):
    order = mixture(1, groups=groups, batch_size=batch_size)
    counts = np.zeros(len(SIZES), int)
    for position in range(300):
        assert order.counts_before(position).tolist() == counts.tolist()
        counts[order.draw(position)[0]] += 1


def test_counts_before_equals_a_plain_count_over_the_end_of_a_block():
    order = mixture(groups=[0, 1, 1], batch_size=12)
    counts = np.bincount([order.draw(position)[0] for position in range(12_500)], minlength=3)
    assert order.counts_before(12_500).tolist() == counts.tolist()


def test_draws_do_not_depend_on_earlier_draws():
    positions = np.random.default_rng(0).integers(0, 60_000, 100).tolist()
    groups = [0, 1, 1]
    order = mixture(groups=groups)
    assert [order.draw(p) for p in positions] == [mixture(groups=groups).draw(p) for p in positions]


def test_a_pickled_order_gives_the_same_draws():
    for groups in (None, [0, 1, 1]):
        order = mixture(groups=groups)
        order.draw(7)  # a cache is filled, and stays behind
        copy = pickle.loads(pickle.dumps(order))
        assert [copy.draw(p) for p in range(200)] == [order.draw(p) for p in range(200)]
        assert copy.counts_before(777).tolist() == order.counts_before(777).tolist()
