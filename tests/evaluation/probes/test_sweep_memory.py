"""What lets a long sweep fit on one device changes no result; streamed training sees all segments of a file."""

import torch

from tests.tiny_clips import tiny_clips
from vjepa.evaluation.probes.feature_batches import streamed_training
from vjepa.evaluation.probes.frozen_features import EncoderFeatures
from vjepa.evaluation.probes.probe import FeatureBatch, Probe
from vjepa.evaluation.probes.sweep import Sweep
from vjepa.models import AttentiveProbe, VideoEncoder

PLAIN = {"heads": ("attentive",), "learning_rates": (1e-2,), "weight_decays": (0.1,), "batch_size": 8}


def trained(sweep: Sweep, batches: list[FeatureBatch]) -> Probe:
    torch.manual_seed(0)
    probe = Probe(sweep, width=24, pooled_width=24, num_classes=3, num_steps=3)
    sweep.trainer(3, "cpu").fit(probe, iter(batches))
    return probe


def test_a_step_in_several_batches_is_the_step_of_one(tmp_path):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(24, 1, 5, 24, generator=generator)
    files = FeatureBatch(tokens, tokens.mean(2), torch.randint(3, (24,), generator=generator))
    whole = [FeatureBatch(*parts) for parts in zip(*(part.split(8) for part in files), strict=True)]
    small = [FeatureBatch(*parts) for parts in zip(*(part.split(2) for part in files), strict=True)]
    once = trained(Sweep(**PLAIN), whole)
    bit_by_bit = trained(Sweep(**PLAIN, accumulate_batches=4), small)
    for name, value in once.state_dict().items():
        torch.testing.assert_close(bit_by_bit.state_dict()[name], value, atol=1e-4, rtol=1e-3)


def test_computing_blocks_again_gives_the_same_gradients():
    tokens = torch.randn(2, 5, 24)
    gradients = []
    for again in (False, True):
        torch.manual_seed(0)
        head = AttentiveProbe(24, [3], depth=3, num_heads=2, activation_checkpointing=again)
        head(tokens)[0].square().sum().backward()
        gradients.append([parameter.grad for parameter in head.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_streamed_training_has_the_segments_of_a_file_in_one_sequence(tiny_world):
    clips = tiny_clips(tiny_world, train_segments=2, num_frames=2)
    encoder = VideoEncoder(embed_dim=24, depth=1, num_heads=2, tubelet=(2, 8, 8))
    rows = clips.labelled_rows("all")
    features = EncoderFeatures("encoder", encoder)
    [batch] = streamed_training(features, clips, rows, 5, 1, torch.device("cpu"))
    [decoded] = clips.training_batches(rows, 5, 1)
    assert batch.tokens.shape == (5, 1, 2 * 16, 24) and batch.pooled.shape == (5, 1, 24)
    assert decoded.clips.shape[0] == 10 and torch.equal(decoded.labels[::2], batch.labels)
    tokens = features(decoded.clips).unflatten(0, (5, 2)).flatten(1, 2)
    torch.testing.assert_close(batch.tokens[:, 0], tokens)
