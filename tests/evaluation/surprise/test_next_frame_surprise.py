"""Surprise of a predictor with memory: each frame's error is that of predicting it from its whole past, in one pass."""

import pytest
import torch

from vjepa.data.clips.batch import normalize_clips
from vjepa.data.clips.matched_pairs import WholeClip
from vjepa.evaluation.surprise.next_frame_surprise import NextFrameSurprise
from vjepa.evaluation.surprise.windows import PastWindows
from vjepa.masking import future_mask
from vjepa.models import Predictor, VideoEncoder
from vjepa.objectives import normalized_targets

NUM_FRAMES, PLANE = 8, 4


def networks() -> tuple[VideoEncoder, Predictor]:
    torch.manual_seed(0)
    encoder = VideoEncoder(embed_dim=24, depth=1, num_heads=2, tubelet=(2, 8, 8), per_frame=True)
    predictor = Predictor(24, 24, depth=0, num_heads=2, memory_width=8)
    torch.nn.init.normal_(predictor.proj.weight)  # what begins near zero would hide that the memory is read
    return encoder.eval().requires_grad_(False), predictor.eval().requires_grad_(False)


def scorer(contexts: tuple[int, ...] = (2,)) -> NextFrameSurprise:
    encoder, predictor = networks()
    windows = PastWindows(NUM_FRAMES, contexts, exponent=2.0)
    return NextFrameSurprise("model", encoder, encoder, predictor, windows, torch.device("cpu"), "32-true")


def clip(num_frames: int = NUM_FRAMES) -> WholeClip:
    pixels = torch.randint(0, 256, (3, num_frames, 16, 16), generator=torch.Generator().manual_seed(1))
    return WholeClip(pixels.to(torch.uint8), torch.arange(num_frames).numpy())


def test_errors_are_those_of_each_frame_from_its_past_alone():
    found, given = scorer()(clip())["model"], clip()
    encoder, predictor = networks()
    clips = normalize_clips(given.frames[None])
    for context in (2, 4, 6):
        past = encoder(clips[:, :, :context])
        predicted = predictor(past, future_mask(encoder.grid_of(clips), context // 2, 1), encoder.grid_of(clips))
        target = normalized_targets(encoder(clips[:, :, context : context + 2]), 1)
        errors = (predicted - target).square().mean(-1)[0] / 2
        torch.testing.assert_close(found.curve[0, context], errors.mean(), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found.curve[1, context + 1], errors.max(), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found.windows[0, context // 2 - 1], errors.mean(), atol=1e-5, rtol=1e-4)
    assert found.curve[:, :2].isnan().all() and found.windows.shape == (3, 3)


def test_no_later_frame_changes_the_curve():
    given = clip()
    before = scorer()(given)["model"].curve
    for changed in range(2, NUM_FRAMES):
        frames = given.frames.clone()
        frames[:, changed:] = 255 - frames[:, changed:]
        after = scorer()(given._replace(frames=frames))["model"].curve
        tubelet = changed // 2 * 2
        assert torch.equal(before[:, 2:tubelet], after[:, 2:tubelet]), changed
        assert not torch.equal(before[:, tubelet:], after[:, tubelet:]), changed


def test_frames_of_no_whole_tubelet_are_left_out():
    assert scorer()(clip(7))["model"].curve[0].isnan().tolist() == [True, True, False, False, False, False, True]


def test_clips_that_are_too_short_are_refused():
    with pytest.raises(ValueError, match="it has 4 frames at this rate, too few for a context of 4"):
        scorer((4, 6))(clip(4))
