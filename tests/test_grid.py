import pytest
import torch

from vjepa.grid import TokenGrid, gather_tokens, gather_tubelets, tubelet_pixels


def test_positions_and_ids_are_inverse():
    grid = TokenGrid(3, 4, 5)
    ids = torch.arange(grid.num_tokens)
    assert torch.equal(grid.ids(grid.positions(ids)), ids)
    assert grid.positions(torch.tensor(27)).tolist() == [1, 1, 2]


@pytest.mark.parametrize(
    ("clip_size", "sentence"),
    [
        ((15, 64, 64), "num_frames .15. must be a multiple of the tubelet's num_frames .2.; try 16"),
        ((16, 60, 64), "height .60. must be a multiple of the tubelet's height .16.; try 64"),
        ((16, 64, 8), "width .8. must be a multiple of the tubelet's width .16.; try 16"),
    ],
)
def test_a_clip_that_is_no_whole_number_of_tubelets_is_refused(clip_size, sentence):
    with pytest.raises(ValueError, match=sentence):
        TokenGrid.of_clip(clip_size, (2, 16, 16))


def test_gather_tokens_picks_in_the_order_of_the_ids():
    tokens = torch.arange(12.0).view(2, 3, 2)
    assert gather_tokens(tokens, torch.tensor([[2, 0], [1, 1]])).tolist() == [[[4, 5], [0, 1]], [[8, 9], [8, 9]]]


def test_gathered_tubelets_are_those_of_the_plain_pass():
    generator = torch.Generator().manual_seed(0)
    clips = torch.randn(3, 3, 4, 8, 12, generator=generator)
    ids = torch.stack([torch.randperm(2 * 2 * 3, generator=generator)[:5] for _ in range(3)])
    plain = gather_tokens(tubelet_pixels(clips, (2, 4, 4)), ids)
    assert torch.equal(gather_tubelets(clips, (2, 4, 4), ids), plain)
