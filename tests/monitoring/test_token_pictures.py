"""Pictures show what they say, at the places where it is."""

import numpy as np
import torch

from vjepa.evaluation.captions import LINE, MARGIN
from vjepa.evaluation.principal_axes import principal_axes
from vjepa.grid import TokenGrid
from vjepa.masking import TubeMask
from vjepa.monitoring.token_pictures import (
    GAP,
    errors_picture,
    features_picture,
    masks_picture,
    neighbours_picture,
    with_caption,
)

GRID = TokenGrid(2, 2, 2)  # of clips of 4 frames and 8 x 8 pixels
SIDE = 8


def drawn_clips(num_clips: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 255, (num_clips, 3, 4, SIDE, SIDE), dtype=torch.uint8, generator=generator)


def cell(picture: np.ndarray, row: int, frame: int) -> np.ndarray:
    top, left = row * (SIDE + GAP), frame * (SIDE + GAP)
    return picture[top : top + SIDE, left : left + SIDE]


def test_masks_show_visible_tubelets_and_hide_others():
    clips = drawn_clips()
    mask = TubeMask(torch.tensor([[0, 1], [4, 7]]), torch.tensor([[2, 3, 4], [0, 1, 2]]))
    picture = masks_picture(clips, mask, GRID)
    assert picture.dtype == np.uint8 and picture.shape == (4 * (SIDE + GAP) - GAP, 2 * (SIDE + GAP) - GAP, 3)
    frame = clips[0, :, 0].permute(1, 2, 0).numpy()
    assert np.array_equal(cell(picture, 0, 0), frame)
    assert np.array_equal(cell(picture, 1, 0)[:4], frame[:4])  # tokens 0 and 1 are seen
    assert (cell(picture, 1, 0)[4:] == 128).all()  # 2 and 3 are hidden
    dark = cell(picture, 1, 1)[:4, 4:]  # 5 is of neither set
    assert np.abs(dark - 0.25 * clips[0, :, 2, :4, 4:].permute(1, 2, 0).numpy()).max() <= 0.5


def test_axes_are_those_of_largest_spread():
    tokens = torch.randn(2, 100, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor([9, 1, 6, 1, 1, 3.0])
    axes = principal_axes(tokens)
    torch.testing.assert_close(axes.T @ axes, torch.eye(3), atol=1e-5, rtol=0)
    assert axes.abs().argmax(dim=0).tolist() == [0, 2, 5]


def test_colours_stay_when_features_keep_their_plane():
    tokens = torch.randn(2, 200, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor([9, 8, 7, 1, 1, 1.0])
    before = principal_axes(tokens)
    later = tokens * torch.tensor([7, 8, 9, 1, 1, 1.0]) / torch.tensor([9, 8, 7, 1, 1, 1.0])  # another order of spread
    assert (principal_axes(later).abs() - before.abs()).abs().max() > 0.5
    assert (principal_axes(later, before) - before).abs().max() < 0.2


def test_equal_tokens_have_equal_colours():
    tokens = torch.randn(2, 8, 6, generator=torch.Generator().manual_seed(0))
    tokens[0, 1] = tokens[0, 0]
    picture = features_picture(drawn_clips(), tokens, GRID, principal_axes(tokens))
    assert np.array_equal(cell(picture, 1, 0)[:4, :4], cell(picture, 1, 0)[:4, 4:])
    assert not np.array_equal(cell(picture, 1, 0)[:4, :4], cell(picture, 1, 0)[4:, :4])


def test_errors_are_red_where_they_are_large_and_blue_where_small():
    mask = TubeMask(torch.tensor([[0, 1]]), torch.tensor([[2, 3]]))
    picture = errors_picture(drawn_clips(1), torch.tensor([[1.0, 0.0]]), mask, GRID)
    large, small = cell(picture, 0, 0)[4:, :4].astype(int), cell(picture, 0, 0)[4:, 4:].astype(int)
    assert (large[..., 0] > large[..., 2] + 100).all() and (small[..., 2] > small[..., 0] + 100).all()
    seen = cell(picture, 0, 0)[:4]
    assert (seen == seen[..., :1]).all()  # grey


def test_neighbours_are_the_clips_with_the_nearest_features():
    clips = drawn_clips(4)
    features = torch.tensor([[1.0, 0.0], [-1.0, 0.1], [1.0, 0.1], [-1.0, 0.0]])
    picture = neighbours_picture(clips, features, num_queries=2, num_neighbours=1)
    for row, (query, nearest) in enumerate([(0, 2), (1, 3)]):
        assert np.array_equal(cell(picture, row, 0), clips[query, :, 0].permute(1, 2, 0).numpy())
        assert np.array_equal(cell(picture, row, 2), clips[nearest, :, 0].permute(1, 2, 0).numpy())


def test_every_picture_has_a_caption_and_stays_whole():
    picture = masks_picture(drawn_clips(1), TubeMask(torch.tensor([[0]]), torch.tensor([[2]])), GRID)
    captions = {name: with_caption(picture, name, 0.5) for name in ("mask0", "features", "error1", "neighbours")}
    for drawn in captions.values():
        assert np.array_equal(drawn[LINE + MARGIN :][: len(picture), : picture.shape[1]], picture)
    assert len({drawn.tobytes() for drawn in captions.values()}) == 4
