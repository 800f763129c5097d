"""Pairs of clips: what a manifest must say, and whole clips whose first frames don't depend on later ones."""

import shutil

import numpy as np
import pytest

from tests.tiny_pairs import COLUMNS, NUM_FRAMES, VIOLATION, tiny_pairs, write_pairs, write_table
from vjepa.data.clips.sliding_windows import WholeVideo
from vjepa.data.video.facts import Trait, VideoFacts

GOOD = [("a.mp4", "1", 1, "gravity", "", "", ""), ("b.mp4", "1", 0, "gravity", 7, "", "")]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"))


def test_pairs_say_which_clip_is_odd_and_when(pairs):
    found = tiny_pairs(pairs).pairs["test"]
    assert [(pair.name, pair.property, pair.is_harmless, pair.violation_frame) for pair in found[:3]] == [
        ("continuity_0", "continuity", False, VIOLATION),
        ("continuity_1", "continuity", False, VIOLATION),
        ("light_0", "light", True, None),
    ]
    assert [(pair.plain, pair.odd) for pair in found] == [(0, 1), (4, 5), (2, 3), (6, 7)]


def test_the_order_of_rows_does_not_matter(tmp_path):
    reversed_rows = write_table(
        tmp_path / "pairs.csv", [*GOOD[::-1], ("c.mp4", 2, 1, "x", "", 1, 1), ("d.mp4", 2, 1, "x", "", 1, 0)]
    )
    first, second = tiny_pairs(reversed_rows).pairs["test"]
    assert (first.plain, first.odd, first.violation_frame) == (1, 0, 7)
    assert (second.plain, second.odd, second.is_harmless) == (3, 2, True)


def test_the_first_pairs_of_each_property_can_be_chosen(pairs):
    found = tiny_pairs(pairs, pairs_per_property=1).pairs["test"]
    assert [pair.name for pair in found] == ["continuity_0", "light_0"]


def test_clips_are_decoded_whole_and_pairs_stay_together(pairs):
    clips = tiny_pairs(pairs)
    found = list(clips.decoded_pairs("test"))
    assert [each.pair for each in found] == clips.pairs["test"]
    first = found[0]
    assert first.plain.frames.shape == (3, NUM_FRAMES, 32, 32) and first.plain.frame_ids.tolist() == [
        *range(NUM_FRAMES)
    ]
    difference = (first.plain.frames.short() - first.odd.frames.short()).abs().amax(dim=(0, 2, 3))
    assert difference[:VIOLATION].max() < 30 < 100 < difference[VIOLATION:].min()


def test_a_pair_with_an_unreadable_clip_is_left_out(pairs, tmp_path):
    folder = shutil.copytree(pairs.parent, tmp_path / "copy")
    (folder / "continuity_0_odd.mp4").write_text("no video")
    clips = tiny_pairs(folder / "pairs.csv")
    assert [each.pair.name for each in clips.decoded_pairs("test")] == ["continuity_1", "light_0", "light_1"]
    assert [*clips.unreadable] == [str(folder / "continuity_0_odd.mp4")]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (GOOD[:1], r"pair '1' of .* has 1 clip; a pair is two rows, so add or remove clips"),
        ([*GOOD, GOOD[0]], "has 3 clips; a pair is two rows"),
        ([GOOD[0], ("b.mp4", 1, 1, "gravity", "", "", "")], "needs one clip with possible = 1 and one with 0"),
        ([GOOD[0], ("b.mp4", 1, "no", "gravity", "", "", "")], "has 1 and no in column 'possible'; write 1 or 0"),
        ([GOOD[0], ("b.mp4", 1, 0, "colour", "", "", "")], "has 'gravity' and 'colour' in column 'property'"),
        (
            [GOOD[0], ("b.mp4", 1, 0, "gravity", "late", "", "")],
            "has violation_frame late; write the number of a frame",
        ),
        ([GOOD[0], ("b.mp4", 1, 0, "gravity", "", 1, 1)], "is harmless: both clips need possible = 1"),
        ([("a.mp4", 1, 1, "x", "", 1, 0), ("b.mp4", 1, 1, "x", "", 1, 0)], "and one of them changed = 1"),
        ([("a.mp4", "", 1, "x", "", "", ""), *GOOD], "has no name; fill the column 'pair'"),
    ],
)
def test_pairs_that_contradict_themselves_are_refused(tmp_path, rows, sentence):
    with pytest.raises(ValueError, match=sentence):
        tiny_pairs(write_table(tmp_path / "pairs.csv", rows))


@pytest.mark.parametrize("missing", ["pair", "possible", "property"])
def test_a_missing_column_is_named(tmp_path, missing):
    kept = [number for number, column in enumerate(COLUMNS) if column != missing]
    rows = [tuple(row[number] for number in kept) for row in GOOD]
    manifest = write_table(tmp_path / "pairs.csv", rows, tuple(COLUMNS[number] for number in kept))
    with pytest.raises(
        ValueError, match=f"has no values in a column '{missing}'; a manifest of matched pairs has pair"
    ):
        tiny_pairs(manifest)


def test_an_unknown_column_of_properties_is_named(pairs):
    with pytest.raises(ValueError, match=r"no values in a column 'difficulty'.*--data.property_column"):
        tiny_pairs(pairs, property_column="difficulty")


@pytest.mark.parametrize("windows", [WholeVideo(fps=7.0), WholeVideo(frame_step=3.0), WholeVideo(fps=60.0)])
@pytest.mark.parametrize("uneven", [False, True])
def test_which_frames_come_first_does_not_depend_on_later_ones(windows, uneven):
    times = np.cumsum(np.tile([0.03, 0.05], 30))
    found = []
    for num_frames in (60, 41, 40, 1):
        traits = {"times": times[:num_frames], "traits": frozenset([Trait.VARIABLE_RATE])} if uneven else {}
        facts = VideoFacts(num_frames, 25.0, 32, 32, **traits)
        found.append(windows.of(facts, (0, num_frames)).frame_ids[0].tolist())
        assert found[-1][0] == 0 and found[-1][-1] < num_frames
    longest = found[0]
    assert all(each == longest[: len(each)] for each in found)
    assert len(longest) > 10


def test_frames_are_those_at_the_rate():
    facts = VideoFacts(20, 20.0, 32, 32)
    assert WholeVideo(fps=5.0).of(facts, (2, 20)).frame_ids[0].tolist() == [2, 6, 10, 14, 18]
    assert WholeVideo(frame_step=2.5).of(facts, (0, 11)).frame_ids[0].tolist() == [0, 2, 5, 7, 10]
    assert WholeVideo(fps=40.0).of(facts, (0, 2)).frame_ids[0].tolist() == [0, 0, 1, 1]
    with pytest.raises(ValueError, match="give exactly one of"):
        WholeVideo(fps=5.0, frame_step=1.0)
