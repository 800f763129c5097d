"""Clips before actions: they end before the start, keep their rate, and no action is lost for being new."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tiny_kitchens import FILM_FRAMES, GREY_STEP, tiny_actions, write_kitchens
from vjepa.cli.main import main
from vjepa.data.clips.anticipation import Anticipation, clip_end, frame_ids_before
from vjepa.data.manifest.manifest import ROOT_VARIABLE, read_manifest
from vjepa.data.randomness import Purpose, generator_for
from vjepa.data.video.facts import VideoFacts

RECIPE = Path(__file__).parents[3] / "configs" / "probe" / "epic_kitchens100.yaml"
ANNOTATIONS = """\
narration_id,participant_id,video_id,start_timestamp,stop_timestamp,narration,verb,verb_class,noun,noun_class,all_nouns
P01_01_0,P01,P01_01,00:00:01.14,00:00:03.37,open door,open,3,door,3,['door']
P01_102_0,P01,P01_102,00:01:00.54,00:01:02.23,"take knife, plate",take,0,knife,4,"['knife', 'plate']"
P02_01_0,P02,P02_01,00:00:09.54,00:00:10.23,take plate,take,0,plate,2,['plate']
"""


@pytest.fixture(scope="module")
def kitchens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kitchens(tmp_path_factory.mktemp("kitchens"))


def video(num_frames: int, fps: float, times=None) -> VideoFacts:
    return VideoFacts(num_frames, fps, 32, 32, times=None if times is None else np.asarray(times, float))


# --- windows


@pytest.mark.parametrize("end", [10.1, 11.0, 40.0])
def test_a_clip_ends_before_the_start_however_long_the_action_is(end):
    assert clip_end(10.0, end, seconds=1.0) == 9.0


def test_the_anticipation_point_counts_from_the_start_towards_the_end():
    assert clip_end(10.0, 14.0, seconds=1.0, point=0.25) == 10.0
    assert clip_end(10.0, 14.0, seconds=0.0, point=1.0) == 14.0


def test_frames_are_those_shown_in_the_seconds_before_the_clip_s_end():
    ids = frame_ids_before(video(900, 30.0), end=9.0, num_frames=32, fps=8.0)
    assert ids.tolist() == [int((5 + k / 8) * 30 + 1e-6) for k in range(32)]
    assert ids[0] == 150 and ids[-1] == 266  # 5 s and 8.875 s


def test_where_the_film_begins_later_its_first_frame_stands_and_the_rate_is_kept():
    ids = frame_ids_before(video(900, 8.0), end=2.0, num_frames=32, fps=8.0)
    assert ids.tolist() == [0] * 16 + list(range(16))
    assert frame_ids_before(video(900, 8.0), end=-0.5, num_frames=4, fps=8.0).tolist() == [0] * 4


def test_where_the_film_is_over_its_last_frame_stands():
    assert frame_ids_before(video(10, 8.0), end=2.0, num_frames=4, fps=8.0).tolist() == [9] * 4


def test_frames_of_a_varying_rate_are_picked_by_their_times():
    times = 3 + np.cumsum(np.random.default_rng(0).uniform(0.01, 0.1, 400))
    ids = frame_ids_before(video(400, 18.0, times), end=9.0, num_frames=32, fps=8.0)
    wanted = times[0] + 5 + np.arange(32) / 8
    assert (times[ids] <= wanted + 1e-5).all() and (times[ids + 1] > wanted).all()


# --- clips


def frame_numbers(clips: torch.Tensor) -> np.ndarray:  # (B, T), from the grey of each frame
    return clips.float().mean((1, 3, 4)).numpy() / GREY_STEP


def test_a_test_clip_shows_neither_the_action_nor_the_second_before_it(kitchens):
    clips = tiny_actions(kitchens)
    [first, *_] = list(clips.evaluation_batches("test"))
    starts = np.array([clips.splits["test"].manifest.window(row)[0] for row in first.rows.tolist()])
    assert (first.seconds == 1.0).all()
    shown = frame_numbers(first.clips)
    expected = (8 * (starts - 1))[:, None] - np.arange(4, 0, -1)  # films and clips have 8 frames per second
    assert np.abs(shown - expected).max() < 0.8
    assert (shown < 8 * (starts - 1)[:, None] - 0.2).all()


def test_evaluation_shows_each_action_once_and_in_order(kitchens):
    clips = tiny_actions(kitchens, batch_size=3)  # five test actions: the last batch is not full
    batches = list(clips.evaluation_batches("test"))
    assert torch.cat([batch.rows for batch in batches]).tolist() == list(range(5))
    labels = torch.cat([batch.labels for batch in batches])
    assert (labels.numpy() == clips.splits["test"].labels).all()


def test_training_looks_ahead_by_drawn_times_that_the_batch_tells(kitchens):
    clips = tiny_actions(kitchens, crop_scale=(1.0, 1.0), train_anticipation_point=(0.0, 0.0))
    batches = list(clips.training_batches(8, 8))
    seconds = torch.cat([batch.seconds for batch in batches]).numpy()
    rows = torch.cat([batch.rows for batch in batches]).tolist()
    assert 0.25 <= seconds.min() < 0.6 and 1.4 < seconds.max() <= 1.75
    starts = np.array([clips.splits["train"].manifest.window(row)[0] for row in rows])
    last = np.concatenate([frame_numbers(batch.clips) for batch in batches])[:, -1]
    # The last frame is the one shown 1/8 s before the clip's end.
    assert np.abs(last - np.floor((starts - seconds) * 8 - 1 + 1e-6)).max() < 0.8


def test_training_clips_are_a_function_of_seed_and_position(kitchens):
    once, again, other = (
        next(iter(tiny_actions(kitchens, val_fraction=0.1, seed=seed).training_batches(8, 1))) for seed in (0, 0, 1)
    )
    assert torch.equal(once.clips, again.clips) and torch.equal(once.seconds, again.seconds)
    assert not torch.equal(once.seconds, other.seconds)


def test_times_and_points_are_drawn_evenly_from_their_ranges():
    anticipation = Anticipation((0.25, 1.75), (0.0, 0.25))
    drawn = np.array([anticipation.draw(generator_for(0, Purpose.CLIP, place, 0)) for place in range(2000)])
    assert drawn.mean(0) == pytest.approx([1.0, 0.125], abs=0.03)
    assert (drawn.min(0) >= [0.25, 0.0]).all() and (drawn.max(0) <= [1.75, 0.25]).all()
    assert Anticipation((1.0, 1.0)).draw(generator_for(0, Purpose.CLIP, 0, 0)) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("ranges", "says"),
    [(((2.0, 1.0),), "must be a range from 0 up"), (((1.0, 1.0), (0.5, 1.5)), "must be a range within 0 and 1")],
)
def test_impossible_ranges_are_refused(ranges, says):
    with pytest.raises(ValueError, match=says):
        Anticipation(*ranges)


def test_a_film_that_can_not_be_read_is_replaced_in_training_and_left_out_in_evaluation(tmp_path):
    manifest = write_kitchens(tmp_path)
    (tmp_path / "films" / "P01" / "P01_01.mp4").write_bytes(b"no film")
    clips = tiny_actions(manifest, val_manifest=str(manifest), val_split="train")  # both have P01, P02 and P03
    assert torch.cat([batch.rows for batch in clips.evaluation_batches("val")]).tolist() == list(range(4, 12))
    [unreadable] = clips.unreadable
    assert unreadable.endswith("P01_01.mp4")
    [batch] = clips.training_batches(12, 1)
    assert batch.rows.min() >= 4 and len(batch.rows) == 12
    assert {Path(failure.path).name for failure in batch.failures} == {"P01_01.mp4"}


# --- splits and classes


def test_validation_holds_out_whole_participants(kitchens):
    for seed in range(3):
        clips = tiny_actions(kitchens, seed=seed)
        train, val = (
            {Path(path).parent.name for path in clips.splits[split].manifest.paths} for split in ("train", "val")
        )
        assert len(val) == 1 and len(train) == 2 and not train & val


def test_without_a_group_whole_films_are_held_out(kitchens):
    clips = tiny_actions(kitchens, group=None)
    train, val = (set(clips.splits[split].manifest.paths) for split in ("train", "val"))
    assert len(val) == 1 and not train & val


def test_an_action_that_training_lacks_is_kept_with_a_number_that_no_head_has(kitchens):
    clips = tiny_actions(kitchens)
    assert clips.class_names == [
        ["open", "take", "wash"],
        ["door", "knife"],
        ["open:door", "take:knife", "wash:knife", "wash:door"],
    ]
    assert clips.num_classes == [3, 2, 3]
    labels = clips.splits["test"].labels
    assert len(labels) == 5 and labels[-1].tolist() == [2, 0, 3]
    assert (clips.splits["train"].labels < np.array(clips.num_classes)).all()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"verb": "verb_class"}, "no classes in a column 'verb_class'; name the columns with --data.verb"),
        ({"group": "kitchen"}, "has a group in a column 'kitchen'"),
        ({"test_split": None}, "give a test_manifest, or a test_split"),
        ({"val_fraction": 1.5}, "val_fraction .1.5. must be between 0 and 1"),
        ({"val_fraction": 0.99}, "can't be split into training and validation rows; give a val_manifest"),
    ],
)
def test_what_is_missing_is_named_with_a_way_out(kitchens, settings, says):
    with pytest.raises(ValueError, match=says):
        tiny_actions(kitchens, **settings)


@pytest.mark.parametrize(
    ("test_rows", "says"),
    [
        ("open,door", None),
        ("open,door ", None),
        ("OPEN,door", "classes 'open' (train actions of {train}) and 'OPEN' (test actions of {test}) in column 'verb'"),
        ("fry,door", "1 of 1 test actions of {test} are of classes that the train actions of {train} lack: 'fry'"),
    ],
)
def test_names_of_verbs_and_nouns_meet_or_are_refused(kitchens, tmp_path, test_rows, says):
    test = tmp_path / "test.csv"
    test.write_text(f"path,verb,noun,start,end,participant\na.mp4,{test_rows},3,4,P09\n")
    of_lists = {"train_manifest": str(kitchens), "train_split": None, "test_split": None, "test_manifest": str(test)}
    if says is None:
        assert tiny_actions(kitchens, **of_lists).splits["test"].labels.tolist() == [[0, 0, 0]]
        return
    with pytest.raises(ValueError, match=re.escape(says.format(train=kitchens, test=test))):
        tiny_actions(kitchens, **of_lists)


def test_an_action_needs_start_and_end(kitchens, tmp_path):
    text = kitchens.read_text(encoding="utf-8").replace(",4.0,4.5", ",,")
    (tmp_path / "actions.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="columns 'start' and 'end'"):
        tiny_actions(tmp_path / "actions.csv", root=str(kitchens.parent))


def test_the_recipe_s_commands_make_manifests_of_the_dataset_s_own_annotations(tmp_path, kitchens, monkeypatch):
    datasets = tmp_path / "datasets"
    monkeypatch.setenv(ROOT_VARIABLE, str(datasets))
    monkeypatch.chdir(tmp_path)
    film = next(kitchens.parent.glob("films/*/*.mp4")).read_bytes()
    for participant, name in (("P01", "P01_01"), ("P01", "P01_102"), ("P02", "P02_01")):
        path = datasets / "epic_kitchens100" / "EPIC-KITCHENS" / participant / "videos" / f"{name}.MP4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(film)
    text = RECIPE.read_text(encoding="utf-8").replace("\\\n#", "")
    lines = re.findall(r"^#\s+((?:vjepa manifest|sed) .+)$", text, re.MULTILINE)
    assert [line.split()[0] for line in lines] == ["vjepa", "sed"]
    for split in ("train", "validation"):
        (datasets / "epic_kitchens100" / f"EPIC_100_{split}.csv").write_text(ANNOTATIONS, encoding="utf-8")
        for line in lines:
            words = shlex.split(os.path.expandvars(line.replace("$split", split)))
            if words[0] == "vjepa":
                main([*words[1:], "--num_workers=1"])
            else:
                subprocess.run(words, check=True)

    root = datasets / "epic_kitchens100" / "EPIC-KITCHENS"
    manifest = read_manifest("data/epic_kitchens100_actions_train.csv", root, label_columns=["participant"])
    assert [manifest.label_name(row) for row in range(3)] == ["P01", "P01", "P02"]
    assert [manifest.window(row) for row in range(3)] == [(1.14, 3.37), (60.54, 62.23), (9.54, 10.23)]
    clips = tiny_actions(
        Path("data/epic_kitchens100_actions_train.csv"),
        train_split=None,
        test_split=None,
        test_manifest="data/epic_kitchens100_actions_validation.csv",
        root=str(root),
        val_fraction=0.3,
    )
    assert sorted(set(clips.class_names[2])) == ["0:2", "0:4", "3:3"]
    assert frame_numbers(next(iter(clips.evaluation_batches("test"))).clips).max() <= FILM_FRAMES
