"""The past never sees the future: no frame after the context changes its tokens or a prediction, by exactly 0."""

import dataclasses

import pytest
import torch

from vjepa.data.clips.batch import normalize_clips
from vjepa.data.clips.matched_pairs import WholeClip
from vjepa.evaluation.surprise.latent_surprise import COPY, VELOCITY, LatentSurprise, encode_past, hypotheses_of
from vjepa.evaluation.surprise.ridge_predictor import fit_ridge
from vjepa.evaluation.surprise.windows import PastWindows
from vjepa.models import Predictor, VideoEncoder, encode_levels

T, C = 8, 4
KINDS = {
    "rotary": {},
    "tiled": {"position": "rotary_tiled"},
    "sincos": {"position": "sincos"},
    "stretched table": {"position": "sincos_uniform", "position_grid": (3, 4, 4)},
    "changes alone": {"difference_gain": 3.0},
    "causal with class token": {"attention": "causal", "class_token": True},
    "class token": {"class_token": True},
    "hypotheses": {},
    "memory": {},
    "levels": {"output_levels": (0, 1), "image_tokenizer": True, "modality_embeddings": True},
}
by_kind = pytest.mark.parametrize("kind", KINDS)


def networks(kind: str) -> tuple[VideoEncoder, Predictor]:
    torch.manual_seed(0)
    settings = KINDS[kind]
    encoder = VideoEncoder(embed_dim=24, depth=2, num_heads=2, tubelet=(2, 8, 8), **settings)
    position = {key: value for key, value in settings.items() if key in ("position", "position_grid")}
    levels = 2 if kind == "levels" else 1
    others = {"hypotheses": {"num_hypotheses": 2}, "memory": {"memory_width": 8}}.get(kind, {})
    predictor = Predictor(
        24, 24, depth=1, num_heads=2, num_levels=levels, zero_init_mask_tokens=False, **position, **others
    )
    return encoder.eval().requires_grad_(False), predictor.eval().requires_grad_(False)


def latents(kind: str, windows: PastWindows, rules: tuple[str, ...] = ()) -> LatentSurprise:
    encoder, predictor = networks(kind)
    found = LatentSurprise(encoder, encoder, predictor.num_levels, windows, rules, torch.device("cpu"), "32-true")
    found.add_row("model", hypotheses_of(predictor, 0))
    return found


def clips(num_frames: int = T) -> torch.Tensor:
    pixels = torch.randint(0, 256, (2, 3, num_frames, 16, 16), generator=torch.Generator().manual_seed(1))
    return pixels.to(torch.uint8)


def changed_after(pixels: torch.Tensor, frame: int) -> torch.Tensor:
    other = pixels.clone()
    other[:, :, frame:] = 255 - other[:, :, frame:]
    return other


@by_kind
def test_no_later_frame_changes_context_or_prediction(kind: str):
    scorer = latents(kind, PastWindows(T, (2, C), batch_size=2), rules=(COPY, VELOCITY))
    pixels = clips()
    before = scorer.contexts(normalize_clips(pixels))
    for number, frames in enumerate(scorer.windows.context_lengths):
        for changed in range(frames, T):
            after = scorer.contexts(normalize_clips(changed_after(pixels, changed)))[number]
            assert torch.equal(before[number].tokens, after.tokens), (frames, changed)
            for row, hypotheses in scorer.predictions.items():
                for predict in hypotheses:
                    assert torch.equal(predict(before[number]), predict(after)), (row, frames, changed)
        # The frame before the context's end does matter: the test could fail.
        other = scorer.contexts(normalize_clips(changed_after(pixels, frames - 1)))[number]
        assert not torch.equal(before[number].tokens, other.tokens)


@by_kind
def test_the_twin_that_reads_the_whole_window_leaks_only_where_the_encoder_subtracts_its_mean(kind: str):
    encoder, predictor = networks(kind)
    pixels, levels = clips(), predictor.num_levels
    windows, other = normalize_clips(pixels), normalize_clips(changed_after(pixels, C))
    ids = torch.arange(C // 2 * 4).expand(2, -1)
    twin = encode_levels(encoder, windows, levels, ids)
    assert torch.equal(twin, encode_levels(encoder, other, levels, ids)) == (kind != "changes alone")
    if kind != "changes alone":
        torch.testing.assert_close(encode_past(encoder, windows, C, levels), twin, rtol=0, atol=0)


def test_changes_are_those_against_the_mean_of_the_past():
    with_gain, _ = networks("changes alone")
    plain, _ = networks("rotary")
    windows = normalize_clips(clips())
    past = windows[:, :, :C]
    torch.testing.assert_close(
        encode_past(with_gain, windows, C), plain((past - past.mean(dim=2, keepdim=True)) * 3.0), rtol=1e-4, atol=1e-5
    )


def test_targets_of_a_causal_encoder_are_past_only_by_themselves():
    windows = PastWindows(T, (2,), batch_size=2)
    whole = latents("causal with class token", windows)
    past = latents("causal with class token", dataclasses.replace(windows, targets="past"))
    given = normalize_clips(clips())
    torch.testing.assert_close(past.targets(given)[:, 4:], whole.targets(given)[:, 4:], rtol=1e-4, atol=1e-5)
    assert past.targets(given)[:, :4].isnan().all()


@by_kind
def test_past_targets_end_with_the_predicted_frames(kind: str):
    scorer = latents(kind, PastWindows(T, (C,), targets="past"))
    pixels = clips()
    before = scorer.targets(normalize_clips(pixels))
    after = scorer.targets(normalize_clips(changed_after(pixels, C + 2)))
    plane = 4
    first, later = slice(C // 2 * plane, (C // 2 + 1) * plane), slice((C // 2 + 1) * plane, None)
    assert torch.equal(before[:, first], after[:, first])
    assert not torch.equal(before[:, later], after[:, later])


def test_the_curve_up_to_a_change_is_the_same_where_targets_are_past():
    scorer = latents("rotary", PastWindows(4, (2,), stride=1, targets="past", batch_size=64))
    pixels = clips(12)
    before, after = (
        scorer(WholeClip(each[0], torch.arange(12).numpy()))["model"].curve
        for each in (pixels, changed_after(pixels, 8))
    )
    # Up to frame 6 no window ends after frame 7; frames from 8 on are other ones.
    assert torch.equal(before[:, 2:7], after[:, 2:7]) and before[:, :2].isnan().all()
    assert not torch.equal(before[:, 8:], after[:, 8:])


def test_a_fitted_predictor_reads_the_context_alone():
    scorer = latents("rotary", PastWindows(T, (C,)))
    clip = WholeClip(clips()[0], torch.arange(T).numpy())
    predict = fit_ridge(scorer, [clip], 1)
    pixels = clips()
    first, second = (scorer.contexts(normalize_clips(each))[0] for each in (pixels, changed_after(pixels, C)))
    assert predict(first).shape == (2, 8, 24) and torch.equal(predict(first), predict(second))
