"""From decoded pairs to results: rows, choice of settings, moment of the violation, verdicts."""

import numpy as np
import pytest
import torch

from tests.tiny_pairs import VIOLATION, moving_square, tiny_pairs, write_pairs
from vjepa.data.clips.batch import normalize_clips
from vjepa.data.clips.matched_pairs import WholeClip
from vjepa.evaluation.surprise.evaluation import MeasuredPair, SurpriseEvaluation, group_accuracy
from vjepa.evaluation.surprise.latent_surprise import COPY, VELOCITY, Context, LatentSurprise
from vjepa.evaluation.surprise.pixel_surprise import (
    DIFFERENCE,
    FLOW,
    PIXEL_COPY,
    PIXEL_VELOCITY,
    FrameSurprise,
    PixelSurprise,
    predicted_pixels,
)
from vjepa.evaluation.surprise.ridge_predictor import fit_ridge
from vjepa.evaluation.surprise.windows import POOLS, PastWindows, Surprise
from vjepa.models import VideoEncoder
from vjepa.objectives import normalized_targets

WINDOWS = PastWindows(6, (2, 4), stride=2, batch_size=4)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"), pairs=3)


def whole(frames: np.ndarray) -> WholeClip:
    return WholeClip(torch.from_numpy(frames).permute(3, 0, 1, 2), np.arange(len(frames)))


def latents(rules=(COPY, VELOCITY), windows: PastWindows = WINDOWS) -> LatentSurprise:
    torch.manual_seed(0)
    encoder = VideoEncoder(embed_dim=24, depth=1, num_heads=2, tubelet=(2, 8, 8))
    return LatentSurprise(encoder, encoder, 1, windows, rules, torch.device("cpu"), "32-true")


class Told:
    """A scorer that knows where the square is, and is surprised by a jump to another row."""

    rows = ("told",)
    settings = ("useless", "good", "as useless")  # as many as POOLS

    def __call__(self, clip: WholeClip) -> dict[str, Surprise]:
        is_square = clip.frames[0] > 170
        height = (is_square * torch.arange(32.0)[:, None]).sum((1, 2)) / is_square.sum((1, 2))  # (F,)
        change = torch.cat((torch.zeros(1), height.diff().abs()))
        curve = torch.stack((torch.zeros_like(change), change, torch.zeros_like(change)))
        return {"told": Surprise(curve[:, 1:], curve)}


def evaluate(pairs, scorers, **settings):
    return SurpriseEvaluation(tiny_pairs(pairs, **settings), scorers, report=lambda line: None).run()


def test_validation_chooses_the_setting_and_the_moment_is_found(pairs):
    found = evaluate(pairs, [Told()], val_manifest=str(pairs))
    continuity, light = found.properties
    assert (continuity.property, continuity.is_harmless, continuity.num_pairs) == ("continuity", False, 3)
    assert continuity.pair_setting.startswith("good") and continuity.scores.accuracy == 1.0
    assert continuity.scores.auroc == 1.0 and continuity.scores.accuracy_interval == (1.0, 1.0)
    assert continuity.located == continuity.located_alone == 1.0 and continuity.group_accuracy is None
    assert light.is_harmless and light.located is None


class Alarmed(Told):
    """Its first setting is surprised by a jump and by a change of light, the second by a jump alone."""

    settings = ("alarmed", "good", "as good")

    def __call__(self, clip: WholeClip) -> dict[str, Surprise]:
        good = super().__call__(clip)["told"].curve[1]
        light = clip.frames.float().mean((0, 2, 3)).diff().abs()
        curve = torch.stack((good + torch.cat((torch.zeros(1), light)), good, good))
        return {"told": Surprise(curve[:, 1:], curve)}


def test_what_harmless_changes_surprise_counts_against_a_setting(pairs):
    continuity, light = evaluate(pairs, [Alarmed()], val_manifest=str(pairs)).properties
    assert continuity.pair_setting.startswith("good") and continuity.scores.accuracy == 1.0
    assert light.scores.accuracy == 0.5
    alarmed, light = evaluate(pairs, [Alarmed()]).properties  # without validation pairs the first one is taken
    assert alarmed.pair_setting.startswith("alarmed") and alarmed.scores.accuracy == 1.0
    assert light.scores.accuracy == 1.0


def test_without_validation_settings_are_the_published_ones(pairs):
    told, _ = evaluate(pairs, [Told()]).properties
    assert told.pair_setting == "useless, average of windows" and told.scores.accuracy == 0.5
    assert told.clip_setting == "useless, maximum of windows"
    pixels, _ = evaluate(pairs, [PixelSurprise(WINDOWS, [PIXEL_COPY])]).properties
    assert pixels.pair_setting == f"least of all contexts, {POOLS[0]}, average of windows"


def test_verdicts_are_calibrated_on_possible_validation_clips(pairs):
    results = evaluate(pairs, [Told()], val_manifest=str(pairs))
    possible, impossible = results.calibration
    assert (possible.kind, possible.num_clips, impossible.kind, impossible.num_clips) == (
        "possible",
        9,
        "impossible",
        3,
    )
    assert impossible.fractions == {"likely": 0.0, "plausible": 0.0, "impossible": 1.0}
    assert sum(possible.fractions.values()) == pytest.approx(1.0)
    assert all(low <= possible.fractions[name] <= high for name, (low, high) in possible.intervals.items())
    verdicts = {(clip["pair"], clip["odd"]): clip["verdict"] for clip in results.clips}
    assert verdicts["continuity_0", 1] == "impossible" and len(results.clips) == 12
    assert [clip["verdict"] for clip in evaluate(pairs, [Told()]).clips] == [""] * 12


def test_a_lossy_past_is_reported(pairs):
    said: list[str] = []
    SurpriseEvaluation(tiny_pairs(pairs), [Told()], report=said.append).run()
    # These files have no B-frames, but the encoder plans ahead.
    assert not said or "a lossy codec lets the future into the past" in said[0]


def test_rows_of_pixels_and_latents_stand_in_one_table(pairs):
    scorers = [
        latents(),
        PixelSurprise(WINDOWS, [PIXEL_COPY, PIXEL_VELOCITY]),
        FrameSurprise(DIFFERENCE),
        FrameSurprise(FLOW),
    ]
    found = evaluate(pairs, scorers)
    rows = [COPY, VELOCITY, PIXEL_COPY, PIXEL_VELOCITY, DIFFERENCE, FLOW]
    assert [each.row for each in found.properties] == [row for row in rows for _ in range(2)]
    accuracy = {each.row: each.scores.accuracy for each in found.properties if not each.is_harmless}
    assert accuracy[DIFFERENCE] == accuracy[PIXEL_COPY] == 1.0, "a jump changes pixels"


def test_groups_are_scored_by_their_sums(pairs):
    clips = tiny_pairs(pairs)
    named = [clips.pairs["test"][0]._replace(group=group) for group in ("a", "a", "b")]
    measured = [MeasuredPair(pair, {}, {}, np.arange(3), ("", ""), None) for pair in named]
    # Group a: 1 + 5 < 4 + 3, though its second pair is wrong; group b: wrong.
    sums = np.array([[1.0, 4.0], [5.0, 3.0], [2.0, 1.0]])
    assert (
        group_accuracy(measured, sums) == 0.5
        and group_accuracy([measured[0]._replace(pair=clips.pairs["test"][0])], sums[:1]) is None
    )


def test_a_clip_that_is_too_short_is_named(pairs):
    scorers = [PixelSurprise(PastWindows(16, (2,)), [PIXEL_COPY])]
    with pytest.raises(
        ValueError, match=r"continuity_0_plain.mp4 can't be scored: it has 14 frames at this rate, fewer"
    ):
        evaluate(pairs, scorers)


def test_pairs_that_cannot_be_read_at_all_are_refused(tmp_path):
    manifest = write_pairs(tmp_path, pairs=1)
    for file in tmp_path.glob("*.mp4"):
        file.write_text("no video")
    with pytest.raises(ValueError, match="none of the 2 test pairs can be read, the first is"):
        evaluate(manifest, [Told()])


# --- rules


def test_pixels_are_copied_or_go_on_moving():
    past = torch.tensor([0.1, 0.2, 0.4]).view(1, 1, 3, 1, 1).expand(1, 3, 3, 2, 2)
    assert predicted_pixels(past, 2, moving=False)[0, 0, :, 0, 0].tolist() == pytest.approx([0.4, 0.4])
    assert predicted_pixels(past, 4, moving=True)[0, 0, :, 0, 0].tolist() == pytest.approx([0.6, 0.8, 1.0, 1.0])
    assert predicted_pixels(past[:, :, :1], 2, moving=True)[0, 0, :, 0, 0].tolist() == pytest.approx([0.1, 0.1])


def test_latents_are_copied_or_go_on_changing():
    scorer = latents()
    windows = normalize_clips(torch.randint(0, 256, (2, 3, 6, 16, 16)).to(torch.uint8))
    short, long = scorer.contexts(windows)
    tubelets = normalized_targets(long.tokens).unflatten(1, (2, 4))
    torch.testing.assert_close(scorer.predictions[COPY][0](long), tubelets[:, 1])
    torch.testing.assert_close(scorer.predictions[VELOCITY][0](long), 2 * tubelets[:, 1] - tubelets[:, 0])
    assert torch.equal(scorer.predictions[VELOCITY][0](short), scorer.predictions[COPY][0](short))
    assert scorer.predictions[COPY][0](short).shape == (2, 8, 24)


def test_of_several_hypotheses_a_window_has_the_best():
    scorer = latents(rules=(), windows=PastWindows(4, (2,), stride=2))
    clip = whole(np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8))
    copied, moved = (lambda context, add=add: context.tokens + add for add in (0.0, 0.3))
    rows = {"first": [copied], "second": [moved], "both": [copied, moved]}
    for name, hypotheses in rows.items():
        scorer.add_row(name, hypotheses)
    found = {row: surprise.windows[0] for row, surprise in scorer(clip).items()}
    assert torch.equal(found["both"], torch.minimum(found["first"], found["second"]))


def test_a_still_clip_surprises_no_rule():
    still = whole(np.repeat(moving_square(8, num_frames=1), 10, axis=0))
    for scorer in (
        PixelSurprise(WINDOWS, [PIXEL_COPY, PIXEL_VELOCITY]),
        FrameSurprise(DIFFERENCE),
        FrameSurprise(FLOW),
    ):
        for surprise in scorer(still).values():
            assert surprise.windows.abs().max() < 1e-4


@pytest.mark.parametrize("row", [DIFFERENCE, FLOW])
def test_change_from_frame_to_frame_peaks_at_the_jump(row):
    curve = FrameSurprise(row)(whole(moving_square(6, jump=10)))[row].curve[0]
    # The square itself goes back to the left at frame 12.
    assert VIOLATION <= int(curve[:12].nan_to_num(0).argmax()) <= VIOLATION + (row == FLOW)
    assert int(curve.isnan().sum()) == (2 if row == FLOW else 1)


def test_a_ridge_learns_what_a_linear_rule_can():
    """Targets that are a fixed rotation of the last context tokens are predicted without error."""
    scorer = latents(rules=(), windows=PastWindows(6, (4,)))
    rotation = torch.linalg.qr(torch.randn(24, 24)).Q

    def targets(clips: torch.Tensor) -> torch.Tensor:
        known = normalized_targets(scorer.contexts(clips)[0].tokens)
        return torch.cat((known, known[:, -4:] @ rotation), dim=1)

    scorer.targets = targets
    made = np.random.default_rng(0).integers(0, 256, (61, 6, 16, 16, 3), np.uint8)
    predict = fit_ridge(scorer, map(whole, made[:60]), 60)
    other = normalize_clips(whole(made[60]).frames[None])
    context: Context = scorer.contexts(other)[0]
    torch.testing.assert_close(predict(context), targets(other)[:, -4:], rtol=0.02, atol=0.02)
