"""Heads side by side learn what each learns alone; validation chooses, test only scores; chance is chance."""

import math

import pytest
import torch

from vjepa.evaluation.probes.frozen_evaluation import Shuffled
from vjepa.evaluation.probes.probe import FeatureBatch, LinearHead, Probe, choose_heads, train_probe
from vjepa.evaluation.probes.sweep import Sweep, widest_divisor

WIDTH = 8


class InOrder:
    """Batches as a loader; Lightning takes a list for several loaders."""

    def __init__(self, batches: list[FeatureBatch]):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def drawn(num_batches: int, seed: int = 0, views: int = 1, num_classes: int = 3, size: int = 16) -> list[FeatureBatch]:
    """Batches of tokens whose mean tells the class, beside much noise."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for _ in range(num_batches):
        labels = torch.randint(num_classes, (size,), generator=generator)
        tokens = torch.randn(size, views, 5, WIDTH, generator=generator)
        tokens = tokens + 2 * torch.eye(WIDTH)[labels][:, None, None]
        batches.append(FeatureBatch(tokens, tokens.mean(2), labels))
    return batches


def trained(sweep: Sweep, batches: list[FeatureBatch], initial: list[dict] | None = None, seed: int = 0) -> Probe:
    torch.manual_seed(seed)
    probe = Probe(sweep, WIDTH, WIDTH, 3, len(batches))
    for head, state in zip(probe.heads, initial or [], strict=initial is not None):
        head.load_state_dict(state)
    train_probe(probe, InOrder(batches), batches[:1], batches[:1], "cpu")
    return probe


@pytest.mark.parametrize("warmup", [0.0, 0.5])
def test_twenty_heads_side_by_side_learn_what_each_learns_alone(warmup):
    rates, decays = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2), (0.01, 1.0)
    sweep = Sweep(learning_rates=rates, weight_decays=decays, num_heads=2, warmup=warmup)
    batches = drawn(6)
    torch.manual_seed(0)
    initial = [head.state_dict() for head in Probe(sweep, WIDTH, WIDTH, 3, 6).heads]
    together = trained(sweep, batches)
    assert len(together.heads) == 20
    for number, candidate in enumerate(together.candidates):
        kind, rate, decay = candidate
        alone = trained(Sweep((kind,), (rate,), (decay,), num_heads=2, warmup=warmup), batches, [initial[number]])
        for (name, ours), theirs in zip(
            together.heads[number].state_dict().items(), alone.heads[0].state_dict().values(), strict=True
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6, msg=f"{candidate} {name}")
            changes = name != "norm.num_batches_tracked" and "running" not in name and "kv.bias" not in name
            assert not (changes and torch.equal(ours, initial[number][name])), f"{candidate} {name} learned nothing"


def test_the_winner_is_chosen_on_validation_and_not_on_test():
    sweep = Sweep(("linear",), (1e-3, 1e-4), (0.1,))
    probe = Probe(sweep, WIDTH, WIDTH, 2, 1)
    for feature, head in enumerate(probe.heads):  # each head reads a feature of its own
        torch.nn.init.zeros_(head.linear.weight)
        head.linear.weight.data[1, feature] = 1.0
    labels = torch.arange(40) % 2

    def told_by(feature: int) -> list[FeatureBatch]:
        pooled = torch.zeros(40, 1, WIDTH)
        pooled[:, 0, feature] = 2.0 * labels - 1
        pooled[:, 0, 1 - feature] = 1 - 2.0 * labels  # the other feature tells the wrong class
        return [FeatureBatch(pooled[:, :, None], pooled, labels)]

    (trial,) = choose_heads(probe, val=told_by(0), test=told_by(1)).values()
    assert trial.chosen == probe.candidates[0].settings and trial.val_accuracy == 1.0
    assert (trial.guesses.argmax(1) == trial.labels).float().mean() == 0.0
    (other,) = choose_heads(probe, val=told_by(1), test=told_by(1)).values()
    assert other.chosen == probe.candidates[1].settings


def test_among_heads_of_equal_accuracy_the_surer_one_wins():
    probe = Probe(Sweep(("linear",), (1e-4, 1e-3), (0.1,)), WIDTH, WIDTH, 2, 1)
    for scale, head in zip((0.1, 3.0), probe.heads, strict=True):
        torch.nn.init.zeros_(head.linear.weight)
        head.linear.weight.data[1, 0] = scale
    pooled = torch.zeros(10, 1, WIDTH)
    pooled[5:, 0, 0], pooled[:5, 0, 0] = 1, -1
    batch = FeatureBatch(pooled[:, :, None], pooled, (torch.arange(10) >= 5).long())
    assert choose_heads(probe, [batch], [batch])["linear"].chosen == "learning rate 0.001, weight decay 0.1"


def test_heads_learn_what_features_tell():
    sweep = Sweep(learning_rates=(1e-2,), weight_decays=(0.01,), num_heads=2)
    torch.manual_seed(0)
    probe = Probe(sweep, WIDTH, WIDTH, 3, 60)
    trials = train_probe(probe, InOrder(drawn(60)), drawn(4, seed=1), drawn(10, seed=2), "cpu")
    assert list(trials) == ["linear", "attentive"]
    for trial in trials.values():
        assert (trial.guesses.argmax(1) == trial.labels).float().mean() > 0.95
        torch.testing.assert_close(trial.guesses.sum(1), torch.ones(160))


def test_shuffled_labels_end_at_chance():
    width, num_clips, generator = 64, 1500, torch.Generator().manual_seed(0)

    def batches(number: int) -> list[FeatureBatch]:
        pooled = torch.randn(number, 100, 1, width, generator=generator)
        return [FeatureBatch(part[:, :, None], part, part[:, 0, :4].argmax(1)) for part in pooled]

    sweep = Sweep(learning_rates=(1e-3, 1e-2), weight_decays=(0.01,))
    train, val, test = batches(60), batches(3), batches(num_clips // 100)
    for source, at_chance in ((InOrder(train), False), (Shuffled(train, 4, seed=0), True)):
        torch.manual_seed(0)
        for trial in train_probe(Probe(sweep, width, width, 4, 60), source, val, test, "cpu").values():
            accuracy = float((trial.guesses.argmax(1) == trial.labels).float().mean())
            bound = 3.3 * math.sqrt(0.25 * 0.75 / num_clips)  # of a binomial, 1 in 1000
            assert abs(accuracy - 0.25) < bound if at_chance else accuracy > 0.7


def test_guesses_are_means_over_views_and_training_learns_from_each_view():
    probe = Probe(Sweep(learning_rates=(1e-3,), weight_decays=(0.1,), num_heads=2), WIDTH, WIDTH, 3, 1)
    (batch,) = drawn(1, views=4)
    apart = [FeatureBatch(batch.tokens[:, [v]], batch.pooled[:, [v]], batch.labels) for v in range(4)]
    ours, labels = probe.guesses([batch])
    of_views = [probe.guesses([view])[0] for view in apart]
    for head in range(2):
        torch.testing.assert_close(ours[head], torch.stack([guesses[head] for guesses in of_views]).mean(0))
    assert labels.equal(batch.labels) and not probe.training
    loss = probe.training_step(batch, 0)
    alone = torch.stack([probe.training_step(view, 0) for view in apart]).mean()
    torch.testing.assert_close(loss, alone)


def test_a_class_without_training_clips_is_only_never_guessed():
    batches = [batch._replace(labels=batch.labels % 2) for batch in drawn(20)]
    torch.manual_seed(0)
    probe = Probe(Sweep(learning_rates=(1e-2,), weight_decays=(0.01,), num_heads=2), WIDTH, WIDTH, 5, 20)
    for trial in train_probe(probe, InOrder(batches), drawn(2, seed=1), drawn(2, seed=2), "cpu").values():
        assert trial.guesses.shape == (32, 5) and set(trial.guesses.argmax(1).tolist()) <= {0, 1}


def test_a_batch_of_a_single_file_is_learned_from():
    head = LinearHead(WIDTH, 3).train()
    head(torch.randn(20, WIDTH) * 3 + 1)
    statistics = head.norm.running_mean.clone()
    pooled = torch.randn(1, WIDTH)
    learned = head(pooled)
    assert torch.equal(head.norm.running_mean, statistics)
    torch.testing.assert_close(learned, head.eval()(pooled))
    trained(Sweep(learning_rates=(1e-3,), weight_decays=(0.1,), num_heads=2), drawn(2) + drawn(1, size=1))


def test_steps_are_epochs_but_at_least_so_many():
    sweep = Sweep(num_epochs=20, min_steps=300, batch_size=64)
    assert sweep.num_steps(10) == 300 and sweep.num_steps(65 * 64) == 1300 and sweep.num_steps(65 * 64 + 1) == 1320


@pytest.mark.parametrize(("width", "largest", "count"), [(768, 16, 16), (24, 16, 12), (7, 4, 1), (3, 16, 3)])
def test_the_most_attention_heads_that_divide_a_width(width, largest, count):
    assert widest_divisor(width, largest) == count
