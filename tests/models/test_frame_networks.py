"""Encoders of single frames, and what reads them."""

import pytest
import torch

from vjepa.models import VideoEncoder
from vjepa.models.dynamics.inverse_dynamics import InverseDynamics
from vjepa.models.frame_decoder import FrameDecoder
from vjepa.models.frame_encoder import ConvFrameEncoder, VideoFrameEncoder, spatial_softmax
from vjepa.objectives.world.trajectory_shape import straightening, time_similarity


@pytest.mark.parametrize(("row", "column"), [(3.0, 11.0), (7.3, 4.6)])
def test_a_peak_is_located_to_a_fraction_of_a_cell(row, column):
    cells = torch.arange(16.0)
    peak = torch.exp(-((cells[:, None] - row) ** 2 + (cells[None, :] - column) ** 2) / 4)
    places = torch.linspace(-1, 1, 16)
    found = spatial_softmax(peak[None, None], torch.full((1, 1), 6.0), places, places)[0, 0]
    torch.testing.assert_close((found + 1) * 7.5, torch.tensor([column, row]), atol=0.35, rtol=0)


def test_the_small_encoder_is_small_and_sees_each_frame_alone():
    torch.manual_seed(0)
    encoder, frames = ConvFrameEncoder(embed_dim=24, static_dim=8), torch.randn(4, 3, 64, 64)
    assert sum(parameter.numel() for parameter in encoder.parameters()) < 300_000
    latents = encoder(frames)
    assert latents.shape == (4, 1, 24)
    torch.testing.assert_close(encoder(frames[1:2]), latents[1:2], atol=1e-5, rtol=1e-5)


def test_dynamic_features_have_from_the_picture_only_the_static_ones():
    torch.manual_seed(0)
    encoder, frames = ConvFrameEncoder(embed_dim=24, static_dim=8), torch.randn(2, 3, 64, 64)

    def changes_with_the_picture() -> tuple[bool, ...]:  # of what moves, of what lasts
        before = encoder(frames)
        torch.nn.init.normal_(encoder.scene[2].weight)
        after = encoder(frames)
        return tuple(not torch.allclose(after[..., part], before[..., part]) for part in (slice(16), slice(16, 24)))

    assert changes_with_the_picture() == (True, True)
    with torch.no_grad():
        encoder.dynamic_head[0].weight[:, -8:] = 0  # what lasts is no longer heard
    assert changes_with_the_picture() == (False, True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConvFrameEncoder((62, 64)), "must be multiples of 4"),
        (lambda: ConvFrameEncoder(embed_dim=8, static_dim=8), "static_dim"),
        (lambda: ConvFrameEncoder()(torch.zeros(1, 3, 32, 64)), "frames of 32x64 pixels don't fit an encoder of 64x64"),
        (lambda: video_encoder(pool_grid=(3, 3)), "must divide the grid of tokens"),
        (lambda: FrameDecoder(8, (40, 64)), "must be multiples of 16"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def video_encoder(**settings) -> VideoFrameEncoder:
    torch.manual_seed(0)
    encoder = VideoEncoder(embed_dim=24, depth=1, num_heads=2, tubelet=(2, 8, 8))
    return VideoFrameEncoder(encoder, (32, 32), **settings).eval()


def test_a_video_encoder_sees_a_frame_as_a_still_tubelet():
    encoder, frames = video_encoder(normalize=False), torch.randn(3, 3, 32, 32)
    tokens = encoder(frames)
    assert tokens.shape == (3, 16, 24)
    still = frames[:, :, None].repeat(1, 1, 2, 1, 1)
    torch.testing.assert_close(tokens, encoder.encoder(still))


def test_tokens_are_normalised_and_pooled_by_place():
    frames = torch.randn(3, 3, 32, 32)
    tokens = video_encoder()(frames)
    torch.testing.assert_close(tokens.mean(-1), torch.zeros(3, 16), atol=1e-5, rtol=0)
    pooled = video_encoder(pool_grid=(2, 2))(frames)
    torch.testing.assert_close(pooled[:, 0], tokens.view(3, 4, 4, 24)[:, :2, :2].mean((1, 2)))
    torch.testing.assert_close(video_encoder(pool=True)(frames)[:, 0], tokens.mean(1))


def test_a_flat_latent_is_all_tokens_side_by_side():
    frames = torch.rand(2, 3, 32, 32)
    flat = video_encoder(pool_grid=(2, 2), flatten=True)
    assert (flat.num_tokens, flat.embed_dim) == (1, 4 * 24)
    torch.testing.assert_close(flat(frames)[:, 0], video_encoder(pool_grid=(2, 2))(frames).flatten(1))


def test_readers_of_latents_give_frames_and_actions():
    assert FrameDecoder(8, (32, 48))(torch.randn(5, 1, 8)).shape == (5, 3, 32, 48)
    assert InverseDynamics(8, 6)(torch.randn(2, 4, 3, 8), torch.randn(2, 4, 3, 8)).shape == (2, 4, 6)


def test_the_shape_of_trajectories_by_hand():
    path = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [2.0, 2.0]]).view(1, 4, 1, 2)
    assert float(time_similarity(path)) == pytest.approx((1 + 1 + 4) / 6)
    assert float(straightening(path)) == pytest.approx(0.5)  # straight on once, then a right angle
