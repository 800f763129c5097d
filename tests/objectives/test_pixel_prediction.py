"""Pixels of tubelets: where they come from, how they are normalised, and back to clips."""

import torch

from vjepa.grid import TokenGrid, clips_of_tubelets, tubelet_pixels
from vjepa.objectives.pixel_prediction import normalized_tubelets, pixel_prediction_loss

TUBELET = (2, 4, 8)


def test_a_tokens_pixels_are_its_part_of_the_clip():
    clips, grid = torch.randn(2, 3, 4, 8, 16), TokenGrid(2, 2, 2)
    pixels = tubelet_pixels(clips, TUBELET)
    assert pixels.shape == (2, 8, 3 * 2 * 4 * 8)
    for token, (frame, row, column) in enumerate(grid.positions(torch.arange(8)).tolist()):
        part = clips[:, :, 2 * frame : 2 * frame + 2, 4 * row : 4 * row + 4, 8 * column : 8 * column + 8]
        assert torch.equal(pixels[:, token], part.flatten(1))
    assert torch.equal(clips_of_tubelets(pixels, grid, TUBELET), clips)


def test_normalised_pixels_are_the_plain_formula():
    pixels = tubelet_pixels(torch.rand(2, 3, 4, 8, 16), TUBELET)
    found = normalized_tubelets(pixels)
    for clip in range(2):
        for token in range(8):
            for colour in range(3):
                part = slice(64 * colour, 64 * (colour + 1))
                values = pixels[clip, token, part].double()
                deviations = values - values.sum() / 64
                spread = (deviations.square().sum() / 63).sqrt() + 1e-6
                torch.testing.assert_close(found[clip, token, part].double(), deviations / spread, rtol=1e-4, atol=1e-5)


def test_brightness_and_contrast_say_nothing():
    pixels = tubelet_pixels(torch.rand(1, 3, 4, 8, 16), TUBELET)
    torch.testing.assert_close(normalized_tubelets(3 * pixels + 1), normalized_tubelets(pixels), rtol=1e-3, atol=1e-4)


def test_a_flat_tubelet_is_zero_and_the_loss_the_mean_square():
    assert normalized_tubelets(torch.full((1, 2, 192), 0.5)).abs().max() < 1e-3
    loss = pixel_prediction_loss(torch.zeros(1, 2, 4), torch.tensor([1.0, 2.0, 3.0, 4.0]).expand(1, 2, 4))
    assert loss.item() == 7.5
