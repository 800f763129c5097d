"""Masks carried by nearest tokens: kept where nothing changes, moved with what moves, as written out in a loop."""

import numpy as np
import pytest
import torch

from vjepa.data.segmentation.mask_files import VOID
from vjepa.evaluation.dense.propagation import Propagation, copied_masks, propagated_masks, whitened

SIDE = 4  # pixels of a token


def one_mask(first: np.ndarray, num_frames: int) -> np.ndarray:
    """The mask of the first frame, none in the others."""
    return np.concatenate([first[None], np.full((num_frames - 1, *first.shape), VOID)]).astype(np.int32)


def a_mask() -> np.ndarray:
    """Two objects that cover whole tokens of a 6 x 6 grid."""
    mask = np.zeros((6, 6), np.int32)
    mask[1:3, 1:3], mask[4, 2:6] = 1, 2
    return mask.repeat(SIDE, 0).repeat(SIDE, 1)


def drawn_maps(num_frames: int) -> torch.Tensor:
    return torch.randn(num_frames, 6, 6, 16, generator=torch.Generator().manual_seed(0))


def tokens_of(mask: np.ndarray) -> np.ndarray:
    return mask[SIDE // 2 :: SIDE, SIDE // 2 :: SIDE]


@pytest.mark.parametrize("neighbourhood", [None, 0, 2])
def test_identical_frames_keep_the_mask(neighbourhood: int | None):
    maps = drawn_maps(1).expand(10, -1, -1, -1)
    settings = Propagation(num_neighbours=1, neighbourhood=neighbourhood)
    found = propagated_masks(maps, one_mask(a_mask(), 10), settings)
    assert all((tokens_of(mask) == tokens_of(a_mask())).all() for mask in found)
    assert (found[0] == a_mask()).all(), "the first frame has its mask, pixel by pixel"


def test_a_mask_moves_with_its_tokens():
    maps = torch.stack([drawn_maps(1)[0].roll(step, dims=1) for step in range(4)])
    found = propagated_masks(maps, one_mask(a_mask(), 4), Propagation(num_neighbours=1, neighbourhood=None))
    for step in range(4):
        assert (tokens_of(found[step]) == np.roll(tokens_of(a_mask()), step, axis=1)).all()


def test_the_neighbourhood_limits_how_far_labels_go():
    maps = torch.stack([drawn_maps(1)[0], drawn_maps(1)[0].roll(3, dims=1)])
    near = propagated_masks(maps, one_mask(a_mask(), 2), Propagation(num_neighbours=1, neighbourhood=1))
    assert not (tokens_of(near[1]) == np.roll(tokens_of(a_mask()), 3, axis=1)).all()


def test_labels_are_those_of_a_loop_over_tokens():
    maps, settings = drawn_maps(5), Propagation(num_last_frames=2, num_neighbours=3, neighbourhood=2)
    found = propagated_masks(maps, one_mask(a_mask(), 5), settings)
    labels = [np.eye(3)[tokens_of(a_mask())]]  # (6, 6, 3) in each frame
    unit = torch.nn.functional.normalize(maps, dim=-1).double().numpy()
    for frame in range(1, 5):
        now = np.zeros((6, 6, 3))
        for row, column in np.ndindex(6, 6):
            pairs = []
            for other in sorted({0, *range(max(0, frame - 2), frame)}):
                for r, c in np.ndindex(6, 6):
                    if max(abs(r - row), abs(c - column)) <= 2:
                        pairs.append((unit[frame, row, column] @ unit[other, r, c], labels[other][r, c]))
            best = sorted(pairs, key=lambda pair: -pair[0])[:3]
            weights = np.exp([cosine / 0.1 for cosine, _ in best])
            now[row, column] = sum(w * label for w, (_, label) in zip(weights / weights.sum(), best, strict=True))
        labels.append(now)
        scores = torch.nn.functional.interpolate(torch.from_numpy(now).movedim(-1, 0)[None], (24, 24), mode="bilinear")[
            0
        ].numpy()
        low, high = scores.min((1, 2), keepdims=True), scores.max((1, 2), keepdims=True)
        expected = ((scores - low) / (high - low)).argmax(0)
        assert (found[frame] == expected).mean() > 0.995  # ties may fall either way


def test_an_object_that_appears_later_is_taken_over_where_it_is_given():
    maps, first = drawn_maps(1).repeat(5, 1, 1, 1), np.where(a_mask() == 1, 1, 0)
    maps[2:, 4, 2:6] = drawn_maps(2)[1, 4, 2:6]  # what object 2 looks like; before, its place showed ground
    given = one_mask(first, 5)
    given[2] = a_mask()
    found = propagated_masks(maps, given, Propagation(num_neighbours=1))
    assert not (found[1] == 2).any()
    for frame in (2, 3, 4):
        assert (tokens_of(found[frame]) == tokens_of(a_mask())).all()
    copied = copied_masks(given)
    assert (copied[1] == first).all() and (copied[4] == a_mask()).all()


def test_whitened_tokens_tell_apart_what_a_shared_direction_hides():
    """Tokens are one long vector plus small differences, most of them along a direction that tells nothing."""
    generator = torch.Generator().manual_seed(0)
    kinds = torch.from_numpy(np.eye(3, 16)[tokens_of(a_mask())]).float()
    maps = 20 + kinds + 3 * torch.randn(6, 6, 6, 1, generator=generator) * torch.linspace(0, 1, 16)
    wanted = tokens_of(a_mask())
    right = []
    for whiten in (False, True):
        settings = Propagation(neighbourhood=None, whiten=whiten)
        right.append((tokens_of(propagated_masks(maps, one_mask(a_mask(), 6), settings)[-1]) == wanted).mean())
    assert right[1] == 1.0 > 0.9 > right[0]
    features = whitened(maps)[..., :-1].flatten(0, 2)
    assert features.mean(0).abs().max() < 1e-4
    by_pca = maps.flatten(0, 2) - maps.mean((0, 1, 2))
    variances = torch.linalg.svdvals(by_pca).square() / len(by_pca)
    shrunk = variances / (variances + 0.01 * variances.mean())
    covariance = features.T @ features / len(features)
    torch.testing.assert_close(covariance, torch.diag(shrunk.flip(0)), atol=1e-3, rtol=0)


def test_without_a_first_mask_there_is_nothing_to_propagate():
    with pytest.raises(ValueError, match="the first frame has no mask"):
        propagated_masks(drawn_maps(2), np.full((2, 24, 24), VOID, np.int32), Propagation())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [({"num_neighbours": 0}, "num_neighbours \\(0\\)"), ({"temperature": 0.0}, "temperature \\(0.0\\)")],
)
def test_settings_are_checked(settings, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        Propagation(**settings)
