"""Two clips of a file find each other among all clips of the batch; the loss is SimCLR's."""

import pytest
import torch
from torch import nn

from vjepa.objectives import ClipContrast, Projector


def contrast(**settings) -> ClipContrast:
    torch.manual_seed(0)
    return ClipContrast(Projector(8, 16, 4), **settings)


def terms_of(objective: ClipContrast, tokens: torch.Tensor):
    return objective(tokens[:, :1], tokens, 0)


def test_the_loss_and_its_gradient_are_the_formula_in_float64():
    objective = contrast(temperature=0.3).double()
    assert objective.projector is not None
    tokens = torch.randn(6, 5, 8, dtype=torch.float64, requires_grad=True)
    # The published form, clip by clip; embeddings go through float32 in the objective.
    embedded = nn.functional.normalize(objective.projector(tokens.mean(1)), dim=-1)
    total = torch.zeros((), dtype=torch.float64)
    for i in range(6):
        partner = i + 1 if i % 2 == 0 else i - 1
        others = torch.stack([(embedded[i] @ embedded[k] / 0.3).exp() for k in range(6) if k != i])
        total = total - ((embedded[i] @ embedded[partner] / 0.3).exp() / others.sum()).log() / 6
    (expected,) = torch.autograd.grad(total, tokens)
    terms = terms_of(objective, tokens)
    (found,) = torch.autograd.grad(terms.loss, tokens)
    assert terms.parts["contrast"].item() == pytest.approx(total.item(), abs=1e-6)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_partners_that_are_alike_are_found():
    objective = contrast(temperature=0.05)
    clips = torch.randn(4, 1, 8).repeat_interleave(2, dim=0).expand(-1, 3, -1)
    alike, unlike = terms_of(objective, clips), terms_of(objective, torch.randn(8, 3, 8))
    assert alike.parts["found"] == 1.0 and alike.parts["contrast"] < unlike.parts["contrast"]


def test_clips_all_alike_say_nothing():
    terms = terms_of(contrast(), torch.randn(1, 3, 8).expand(6, -1, -1))
    assert terms.parts["contrast"].item() == pytest.approx(torch.tensor(5.0).log().item(), abs=1e-5)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_clips_without_partners_are_refused(count):
    with pytest.raises(ValueError, match=r"give --data\.clips_per_video=2 and a global_batch_size of at least 4"):
        terms_of(contrast(), torch.randn(count, 3, 8))
