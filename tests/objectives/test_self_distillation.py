"""Self-distillation is DINO's cross-entropy, its centre the mean of the batch, and its measures tell both collapses."""

import pytest
import torch

from vjepa.models.prototype_head import PrototypeHead
from vjepa.objectives.self_distillation import SelfDistillation


def test_the_loss_and_its_gradient_are_the_formula_in_float64():
    torch.manual_seed(0)
    objective = SelfDistillation(5, temperature=0.2, target_temperature=0.1)
    objective.centre.copy_(torch.randn(5))
    similarities = torch.randn(4, 3, 5, dtype=torch.float64, requires_grad=True)
    of_targets = torch.randn(2, 3, 5, dtype=torch.float64)
    total, pairs = torch.zeros((), dtype=torch.float64), 0
    for large in range(2):
        for view in range(4):
            if view == large:
                continue
            pairs += 1
            for image in range(3):
                target = ((of_targets[large, image] - objective.centre) / 0.1).exp()
                guess = (similarities[view, image] / 0.2).exp()
                total = total - (target / target.sum() * (guess / guess.sum()).log()).sum() / 3
    (expected,) = torch.autograd.grad(total / pairs, similarities)
    terms = objective(similarities, of_targets, 0)
    (found,) = torch.autograd.grad(terms.cross_entropy, similarities)
    assert terms.cross_entropy.item() == pytest.approx(total.item() / pairs, rel=1e-5)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_targets_have_no_gradient_and_sharpen_with_the_steps():
    objective = SelfDistillation(3, target_temperature=0.04, first_target_temperature=0.02, warmup_steps=10)
    of_targets = torch.tensor([[[0.1, 0.0, -0.1]]], requires_grad=True)
    assert not objective(torch.zeros(2, 1, 3), of_targets, 0).cross_entropy.requires_grad
    for step, temperature in ((0, 0.02), (5, 0.03), (10, 0.04), (99, 0.04)):
        expected = torch.softmax(of_targets.detach() / temperature, dim=-1)
        torch.testing.assert_close(objective.targets(of_targets, step), expected)


def test_the_centre_follows_the_mean_of_what_targets_look_like():
    objective = SelfDistillation(2, centre_momentum=0.75)
    objective.move_centre(torch.tensor([[[1.0, 0.0], [3.0, 4.0]]]))
    torch.testing.assert_close(objective.centre, torch.tensor([0.5, 0.5]))


def test_both_ways_of_collapse_are_told():
    objective = SelfDistillation(8)
    views = torch.zeros(2, 8, 8)
    told = torch.eye(8).expand(2, 8, 8)  # each image has a prototype of its own
    one = torch.eye(8)[:1].expand(2, 8, 8)  # all have the first
    nothing = torch.zeros(2, 8, 8)
    for targets, entropy, spread in ((told, 0, 1), (one, 0, 0), (nothing, 1, 1)):
        terms = objective(views, targets, 0)
        assert terms.target_entropy.item() == pytest.approx(entropy, abs=1e-4)
        assert terms.spread.item() == pytest.approx(spread, abs=1e-4)


def test_centred_targets_belong_to_no_prototype():
    objective = SelfDistillation(4, centre_momentum=0.0)
    everybody_first = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(1, 6, 4)
    objective.move_centre(everybody_first)
    torch.testing.assert_close(objective.targets(everybody_first, 0), torch.full((1, 6, 4), 0.25))


def test_the_head_compares_directions_alone():
    torch.manual_seed(0)
    head = PrototypeHead(6, hidden_dim=12, bottleneck_dim=4, num_prototypes=10)
    embeddings = torch.randn(3, 7, 6)
    similarities = head(embeddings)
    assert similarities.shape == (3, 7, 10) and similarities.abs().max() <= 1 + 1e-6
    with torch.no_grad():
        head.prototypes.weight.mul_(5)
    torch.testing.assert_close(head(embeddings), similarities)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"target_temperature": 0.2}, "those of targets below that of the context encoder: 0.2 and 0.2 must be below"),
        ({"first_target_temperature": 0.0}, "temperatures must be above 0"),
        ({"centre_momentum": 1.5}, r"centre_momentum \(1.5\) must be from 0 to 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        SelfDistillation(4, **settings)


def test_one_view_alone_is_refused():
    with pytest.raises(ValueError, match="give at least 2"):
        SelfDistillation(4)(torch.zeros(1, 2, 4), torch.zeros(1, 2, 4), 0)
