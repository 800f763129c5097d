"""A patch embedding that starts as discrete cosines."""

import pytest
import torch

from vjepa.models import VideoEncoder
from vjepa.models.cosine_patches import GAIN, cosines, opponent_colours


def started(embed_dim: int = 32) -> VideoEncoder:
    return VideoEncoder(embed_dim=embed_dim, depth=1, num_heads=2, tubelet=(2, 4, 4), patch_init="cosine")


def test_cosines_and_colours_are_orthonormal():
    for basis in (cosines(2), cosines(4), opponent_colours()):
        torch.testing.assert_close(basis @ basis.T, torch.eye(len(basis)), atol=1e-6, rtol=0)
    torch.testing.assert_close(cosines(2), torch.tensor([[1.0, 1.0], [1.0, -1.0]]) / 2**0.5)


def test_rows_are_orthogonal_and_the_first_is_the_mean_of_a_tubelet():
    weight = started().patch_embed.proj.weight.flatten(1)
    torch.testing.assert_close(weight @ weight.T, GAIN**2 * torch.eye(32), atol=1e-6, rtol=0)
    torch.testing.assert_close(weight[0], torch.full((96,), GAIN / 96**0.5))


def test_all_frequencies_together_lose_nothing():
    weight = started(96).patch_embed.proj.weight.flatten(1)
    assert torch.linalg.matrix_rank(weight) == 96


def test_contrast_stays_through_the_norm():
    """Twice the contrast is about twice the distance between tokens; a layer norm without offset would level it."""
    encoder = started().eval().requires_grad_(False)
    grey = torch.zeros(1, 3, 2, 16, 16)
    pattern = 0.3 * torch.randn(1, 3, 2, 16, 16)
    once, twice = ((encoder(k * pattern) - encoder(grey)).norm() for k in (1, 2))
    assert float(twice / once) == pytest.approx(2, rel=0.1)


def test_an_embedding_wider_than_a_tubelet_is_refused():
    with pytest.raises(ValueError, match=r"embed_dim \(98\) of at most the 96 values of a tubelet"):
        started(98)
