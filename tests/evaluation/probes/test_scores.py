"""Accuracies against values by hand, and an interval that covers as often as it says."""

import json

import numpy as np
import pytest
import torch

from vjepa.data.randomness import Purpose, generator_for
from vjepa.evaluation.probes.scores import bootstrap_interval, score

NAMES = ["a", "b", "c", "d", "e", "f", "g"]


def test_accuracies_are_those_by_hand():
    # Clips of a, a, a, b, c; guessed a, a, b, b, g; the third and the last have their class in second and sixth place.
    guesses = torch.tensor(
        [
            [0.9, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0],
            [0.5, 0.2, 0.1, 0.1, 0.1, 0.0, 0.0],
            [0.4, 0.5, 0.1, 0.0, 0.0, 0.0, 0.0],
            [0.1, 0.6, 0.2, 0.1, 0.0, 0.0, 0.0],
            [0.3, 0.1, 0.0, 0.09, 0.08, 0.07, 0.36],
        ]
    )
    scores = score(guesses, torch.tensor([0, 0, 0, 1, 2]), NAMES)
    assert scores.top1 == pytest.approx(3 / 5) and scores.top5 == pytest.approx(4 / 5)
    assert scores.mean_class == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert scores.per_class == {"a": pytest.approx(2 / 3), "b": 1.0, "c": 0.0}  # of classes that have clips
    confusion = np.zeros((7, 7), int)
    confusion[0, 0], confusion[0, 1], confusion[1, 1], confusion[2, 6] = 2, 1, 1, 1
    assert scores.confusion == confusion.tolist()
    assert scores.num_clips == 5 and scores.chance == pytest.approx(1 / 7)
    assert json.loads(json.dumps(scores.as_dict()))["confusion"] == confusion.tolist()


def test_five_classes_have_no_top_five():
    scores = score(torch.eye(5), torch.arange(5), NAMES[:5])
    assert scores.top5 is None and scores.top1 == 1.0 and scores.interval == (1.0, 1.0)


def test_the_scale_of_guesses_does_not_matter():
    generator = torch.Generator().manual_seed(0)
    votes, labels = torch.rand(50, 7, generator=generator), torch.randint(7, (50,), generator=generator)
    assert score(votes, labels, NAMES) == score(1000 * votes, labels, NAMES)


def test_the_interval_covers_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for experiment in range(400):
        right = generator.random(150) < 0.7
        low, high = bootstrap_interval(right, seed=experiment)
        assert low <= right.mean() <= high
        covered += low <= 0.7 <= high
    assert 0.92 <= covered / 400 <= 0.98


def test_the_interval_is_that_of_clips_drawn_anew():
    shares = np.random.default_rng(0).integers(4, size=200) / 3
    generator = generator_for(1, Purpose.BOOTSTRAP)
    plain = [shares[generator.integers(200, size=200)].mean() for _ in range(5000)]
    assert bootstrap_interval(shares) == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.01)


def test_variants_of_a_clip_are_drawn_together():
    right = np.random.default_rng(0).random(100) < 0.6
    labels = torch.zeros(300, dtype=torch.int64)
    guesses = torch.nn.functional.one_hot(torch.from_numpy(~right).long().repeat_interleave(3), 2).float()
    together = score(guesses, labels, ["a", "b"], num_variants=3)
    assert together.interval == pytest.approx(bootstrap_interval(right)) and together.num_clips == 100
    apart = score(guesses, labels, ["a", "b"])
    assert apart.top1 == together.top1
    assert np.diff(together.interval) > 1.4 * np.diff(apart.interval)  # root 3, but for chance
