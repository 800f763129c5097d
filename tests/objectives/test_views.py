"""Regularizers between many views: against plain loops over pairs, and which views are compared."""

from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vjepa.grid import TokenGrid
from vjepa.objectives import (
    BarlowTwins,
    ClipContrast,
    ClipStep,
    Projector,
    Regularizer,
    SIGReg,
    VarianceCovariance,
    ViewAgreement,
)
from vjepa.objectives.barlow_twins import cross_correlation
from vjepa.objectives.regularizer import squared_difference

V, B, D = 5, 6, 8


def views(seed: int = 0, num_views: int = V) -> Tensor:
    return torch.randn(num_views, B, D, generator=torch.Generator().manual_seed(seed))


def step_with(embedded: Tensor | None, clips_per_file: int = 1) -> ClipStep:
    return ClipStep(
        number=3,
        clips=torch.zeros(B, 3, 2, 4, 4),
        grid=TokenGrid(1, 1, 1),
        masks=[],
        contexts=[],
        encode=lambda token_ids: torch.zeros(B, 1, D),
        views=embedded,
        clips_per_file=clips_per_file,
    )


def regularizers() -> dict[str, Regularizer]:
    return {
        "vicreg": VarianceCovariance(),
        "barlow twins": BarlowTwins(),
        "sigreg": SIGReg(num_directions=8),
        "contrast": ClipContrast(None),
    }


each = pytest.mark.parametrize("name", regularizers())


@pytest.mark.parametrize("anchored", [False, True])
def test_squared_difference_is_the_mean_over_pairs(anchored):
    sets = list(views())
    pairs = [(0, k) for k in range(1, V)] if anchored else list(combinations(range(V), 2))
    expected = torch.stack([F.mse_loss(sets[i], sets[j]) for i, j in pairs]).mean()
    torch.testing.assert_close(squared_difference(sets, anchored), expected)


def test_two_views_are_compared_as_two_parts_of_a_clip():
    pair = views(num_views=2)
    for name, regularizer in regularizers().items():
        if name != "contrast":
            two_parts = regularizer(pair[0].unsqueeze(1), pair[1].unsqueeze(1), 3)
            torch.testing.assert_close(regularizer.between(pair, 3).loss, two_parts.loss)


@pytest.mark.parametrize("anchored", [False, True])
def test_barlow_twins_is_the_mean_over_pairs(anchored):
    pairs = [(0, k) for k in range(1, V)] if anchored else list(combinations(range(V), 2))
    found = BarlowTwins().between(views(), 3, anchored).parts
    diagonals = [cross_correlation(views()[i], views()[j]).diagonal() for i, j in pairs]
    expected = torch.stack([(1 - diagonal).square().mean() for diagonal in diagonals]).mean()
    torch.testing.assert_close(found["on_diagonal"], expected)


def test_contrast_is_the_mean_over_partners():
    """Written as published (Khosla et al. 2020, eq. 2), embedding by embedding."""
    embedded = F.normalize(views(), dim=-1).transpose(0, 1).flatten(0, 1).double()  # clip by clip
    total = []
    for i in range(V * B):
        others = [k for k in range(V * B) if k != i]
        scale = torch.stack([embedded[i] @ embedded[k] / 0.2 for k in others]).logsumexp(0)
        partners = [k for k in others if k // V == i // V]
        total.append(torch.stack([scale - embedded[i] @ embedded[k] / 0.2 for k in partners]).mean())
    found = ClipContrast(None, temperature=0.2).between(views(), 3)
    torch.testing.assert_close(found.loss.double(), torch.stack(total).mean(), atol=1e-6, rtol=1e-5)


@each
def test_views_that_agree_and_spread_cost_less(name):
    regularizer = regularizers()[name]
    clips = torch.randn(B, D, generator=torch.Generator().manual_seed(1))
    agreeing, collapsed = clips.expand(V, -1, -1), clips[:1].expand(V, B, -1)
    losses = [regularizer.between(each, 3).loss for each in (agreeing, views(), collapsed)]
    assert losses[0] < losses[1] and losses[0] < losses[2]


@each
def test_the_order_of_views_is_no_matter(name):
    regularizer = regularizers()[name]
    torch.testing.assert_close(regularizer.between(views(), 3).loss, regularizer.between(views().flip(0), 3).loss)


def test_views_of_a_file_are_those_of_all_its_clips():
    regularizer = VarianceCovariance()
    of_files = ViewAgreement(regularizer, across="file")(step_with(views(), clips_per_file=2))
    joined = torch.cat([views()[:, 0::2], views()[:, 1::2]])  # (2 V, files, D)
    torch.testing.assert_close(of_files.loss, regularizer.between(joined, 3).loss)
    assert of_files.loss != ViewAgreement(regularizer)(step_with(views(), clips_per_file=2)).loss


@pytest.mark.parametrize("embedded", [None, views(num_views=1)])
def test_fewer_than_two_views_are_refused(embedded):
    with pytest.raises(ValueError, match=r"gives [01]: give data\.views with a number of at least 2"):
        ViewAgreement(VarianceCovariance())(step_with(embedded))


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="across 'batch' must be one of clip, file"):
        ViewAgreement(VarianceCovariance(), across="batch")
    with pytest.raises(ValueError, match="give over: clips"):
        ViewAgreement(VarianceCovariance(over="places"))
    with pytest.raises(ValueError, match="leave out anchored"):
        ClipContrast(None).between(views(), 3, anchored=True)
    with pytest.raises(ValueError, match="norm 'instance' must be one of layer, batch"):
        Projector(8, norm="instance")


def test_batch_norm_of_the_projector_is_over_clips_and_views():
    projector = Projector(D, 16, 4, norm="batch")
    projected = projector(views())
    hidden = projector[0](views().flatten(0, 1))
    normed = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(projected.flatten(0, 1), projector[3](F.gelu(normed)), atol=1e-5, rtol=1e-4)
