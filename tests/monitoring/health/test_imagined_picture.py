"""Imagined latents are shown as the nearest real frame of another window."""

import numpy as np
import torch

from vjepa.evaluation.captions import LINE, MARGIN
from vjepa.monitoring.health.imagined_picture import imagined_film, imagined_picture
from vjepa.monitoring.token_pictures import GAP

SIDE = 8


def test_the_lower_row_has_the_first_frame_and_then_the_nearest_frames_of_other_windows():
    values = torch.tensor([[0, 40, 80], [120, 160, 200]])
    frames = values.to(torch.uint8)[..., None, None, None].expand(2, 3, 3, SIDE, SIDE)
    latents = torch.tensor([[1.0, 2.0, 3.0], [1.1, 2.2, 9.0]])[..., None, None]  # (B, T, N, D)
    rolled = torch.tensor([[2.1, 3.0], [2.9, 1.2]])[..., None, None]  # its own window would be nearer in all cases
    picture = imagined_picture(frames, latents, rolled, num_windows=2)
    shown = [
        [int(picture[LINE + MARGIN + row * (SIDE + GAP), column * (SIDE + GAP), 0]) for column in range(3)]
        for row in range(4)
    ]
    assert shown == [[0, 40, 80], [0, 160, 160], [120, 160, 200], [120, 80, 0]]
    assert picture.dtype == np.uint8


def test_the_film_shows_the_same_frames_over_time_and_windows_that_are_far_apart():
    values = torch.tensor([[0, 40], [100, 100], [120, 160]])
    frames = values.to(torch.uint8)[..., None, None, None].expand(3, 2, 3, SIDE, SIDE)
    latents = torch.tensor([[1.0, 2.0], [8.0, 9.0], [1.1, 2.2]])[..., None, None]
    rolled = torch.tensor([[2.1], [0.0], [2.9]])[..., None, None]
    film = imagined_film(frames, latents, rolled, num_windows=2)
    side = 128 + GAP  # frames are enlarged to 128 pixels
    shown = [
        [[int(each[LINE + MARGIN + row * side, column * side, 0]) for column in (0, 1)] for row in (0, 1)]
        for each in film
    ]
    assert shown == [[[0, 120], [0, 120]], [[40, 160], [160, 40]]]
    assert film.dtype == np.uint8 and all(size % 2 == 0 for size in film.shape[1:3])
