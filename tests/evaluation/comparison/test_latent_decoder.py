"""The decoder that shows what embeddings hold: it learns, changes nothing, and sees nothing but tokens."""

import copy

import torch

from vjepa.data.clips.batch import normalize_clips
from vjepa.data.synthetic.fork import fork_clips
from vjepa.evaluation.comparison.fork import fork_batches, mask_of_future
from vjepa.evaluation.comparison.latent_decoder import displayable, frozen_tokens, train_latent_decoder
from vjepa.grid import TokenGrid
from vjepa.models import VideoEncoder


def test_it_learns_to_show_clips_and_leaves_the_encoder_alone():
    torch.manual_seed(0)
    encoder = VideoEncoder(embed_dim=48, depth=1, num_heads=2, tubelet=(2, 16, 16))
    before = copy.deepcopy(encoder.state_dict())
    clips = torch.from_numpy(fork_clips(0, range(8))[0])
    grid = encoder.grid_of(clips)
    errors = []
    for num_steps in (1, 25):
        decoder = train_latent_decoder(encoder, (clips for _ in range(num_steps)), num_steps, learning_rate=3e-3)
        seen = decoder.clips(frozen_tokens(encoder, clips), grid)
        assert seen.shape == clips.shape and seen.dtype == torch.uint8
        errors.append((seen.float() - clips.float()).square().mean())
    assert errors[1] < 0.5 * errors[0]
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    assert all(parameter.grad is None for parameter in encoder.parameters())


def test_pixels_are_shown_as_they_were():
    clips = torch.randint(0, 256, (2, 3, 2, 4, 4), dtype=torch.uint8)
    assert torch.equal(displayable(normalize_clips(clips)), clips)


def test_tokens_of_the_past_alone_know_no_future():
    encoder = VideoEncoder(embed_dim=48, depth=1, num_heads=2, tubelet=(2, 16, 16))
    clips = next(fork_batches(0)).clips
    other = clips.clone()
    other[:, :, 4:] = 0
    ids = mask_of_future(TokenGrid(4, 4, 4), len(clips)).context_ids
    assert torch.equal(frozen_tokens(encoder, clips, ids), frozen_tokens(encoder, other, ids))
