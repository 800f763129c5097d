"""Heads learn what tokens tell, from fractions that equal the loss of every pixel."""

import pytest
import torch
import torch.nn.functional as F

from vjepa.evaluation.dense.segmentation_head import HeadTraining, SegmentationHead, class_fractions, train_head

CPU = torch.device("cpu")


def test_fractions_are_areas_without_void():
    classes = torch.tensor([[[0, 0, 1, 1], [0, 1, 1, -1]]])
    assert class_fractions(classes, (1, 2), 2)[0, 0].tolist() == [[0.75, 0.25], [0.0, 0.75]]


def test_the_loss_of_fractions_is_the_loss_of_all_pixels():
    classes = torch.randint(-1, 3, (2, 8, 8), generator=torch.Generator().manual_seed(0))
    scores = torch.randn(2, 2, 2, 3, generator=torch.Generator().manual_seed(1))
    fractions = class_fractions(classes, (2, 2), 3)
    by_token = -(fractions * scores.log_softmax(-1)).sum() / fractions.sum()
    to_pixels = F.interpolate(scores.movedim(-1, 1), (8, 8), mode="nearest")
    torch.testing.assert_close(by_token, F.cross_entropy(to_pixels, classes, ignore_index=-1))


@pytest.mark.parametrize("kind", ["linear", "attentive"])
def test_a_head_learns_what_tokens_tell_and_is_repeatable(kind):
    maps = torch.randn(12, 4, 4, 5, generator=torch.Generator().manual_seed(0))
    fractions = F.one_hot((maps[..., 2] > 0.3).long(), 2).float()
    training = HeadTraining(num_steps=80, batch_size=4, learning_rate=1e-2)
    head, again = (train_head(kind, maps, fractions, training, 3, CPU) for _ in range(2))
    other = torch.randn(8, 4, 4, 5, generator=torch.Generator().manual_seed(1))
    right = head(other).argmax(-1) == (other[..., 2] > 0.3)
    assert right.float().mean() > 0.9
    assert torch.equal(head(other), again(other))


def test_only_the_attentive_head_sees_other_tokens_of_the_frame():
    mean, std = torch.zeros(5), torch.ones(5)
    maps = torch.randn(1, 2, 2, 5)
    changed = maps.clone()
    changed[0, 1, 1] += 1
    for kind, sees in (("linear", False), ("attentive", True)):
        torch.manual_seed(0)
        head = SegmentationHead(kind, mean, std, 2)
        assert (not torch.equal(head(maps)[0, 0, 0], head(changed)[0, 0, 0])) == sees


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"kinds": ()}, "kinds \\(none\\)"),
        ({"num_steps": 0}, "num_steps \\(0\\)"),
        ({"learning_rate": 0.0}, "\\(0.0\\)"),
    ],
)
def test_settings_are_checked(settings, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        HeadTraining(**settings)
