"""The harder world shows its motions only in time, through a camera that moves; the easier one stays as it was."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vjepa.data.synthetic import hard_world
from vjepa.data.synthetic.dataset import clip_draws, clip_state, write_dataset
from vjepa.data.synthetic.hard_world import MOTIONS, Camera, Course, HardClip, Pace, draw_clip, draw_pace, render_hard
from vjepa.data.synthetic.render import render
from vjepa.data.synthetic.world import roll_out

NAMES = tuple(MOTIONS)
FRAMES = np.arange(32) - 15.5


@pytest.mark.parametrize(
    ("split", "index", "total", "column"),
    [
        ("train", 0, 1410940, [[97, 101, 131], [83, 77, 124], [58, 65, 109]]),
        ("train", 7, 1441145, [[240, 108, 4]] * 3),
        ("test", 3, 1393192, [[227, 101, 8]] * 3),
    ],
)
def test_clips_of_normal_difficulty_stay_as_results_were_measured_on(
    split: str, index: int, total: int, column: list[list[int]]
) -> None:
    frames = render(roll_out(clip_state(0, split, index, 64), 32))[0]
    assert abs(int(frames[3].sum(dtype=np.int64)) - total) < 100  # another processor may round otherwise
    assert np.abs(frames[31, 5:8, 9].astype(int) - column).max() <= 1


def pace() -> Pace:
    return draw_pace(np.random.default_rng(5), FRAMES)


@pytest.mark.parametrize(
    ("name", "backwards", "changes"),
    [
        ("brake", "accelerate", {"heading": -pace().heading}),
        ("spiral_in", "spiral_out", {"sense": -pace().sense, "phase": -pace().phase}),
        ("deflate", "inflate", {"phase": -pace().phase}),
        ("flee", "chase", {"phase": -pace().phase}),
        ("orbit_clockwise", "orbit_counterclockwise", {"phase": -pace().phase}),
        ("circle_clockwise", "circle_counterclockwise", {"phase": -pace().phase}),
    ],
)
def test_pairs_of_motions_differ_in_the_order_of_frames_alone(name: str, backwards: str, changes: dict) -> None:
    def values(course: Course) -> NDArray[np.complex128]:
        return np.array([np.zeros(32) + (0.0 if value is None else value) for value in course])

    one, other = values(MOTIONS[name](pace())), values(MOTIONS[backwards](replace(pace(), **changes)))
    assert np.allclose(one[:, ::-1], other)


@pytest.mark.parametrize("name", NAMES)
def test_both_shapes_of_the_pair_show_the_motion_and_a_distractor_another(name: str) -> None:
    """In step, or relative to each other."""
    clip = draw_clip(np.random.default_rng(3), name, 64, 32)
    bigger, smaller, other = ([state.shapes[number] for state in clip.states] for number in (0, 1, 2))

    def changes(shapes: list) -> NDArray[np.float64]:
        values = np.array([[shape.angle, math.log(shape.size)] for shape in shapes])
        return np.diff(values, axis=0)

    assert smaller[0].size < bigger[0].size
    # Sizes differ in how far they swing, but not in when.
    assert (np.sign(changes(bigger).round(9)) == np.sign(changes(smaller).round(9))).all()
    moves = [np.diff(np.array([shape.position for shape in shapes]), axis=0) for shapes in (bigger, smaller, other)]
    one, two, three = ((move + 0.5) % 1.0 - 0.5 for move in moves)
    in_step = name not in ("circle_clockwise", "circle_counterclockwise", "collide", "chase", "flee")
    assert np.allclose(one, two) == in_step
    assert not np.allclose(np.c_[one, changes(bigger)], np.c_[three, changes(other)])


def test_the_camera_moves_frames_and_masks_together() -> None:
    clip = draw_clip(np.random.default_rng(0), "move_left", 64, 3)
    still = Camera(np.zeros(3, complex), np.ones(3), np.zeros(3), np.ones(3))
    frames, masks = render(clip.states)
    seen, seen_masks = render_hard(HardClip(clip.states, still))
    assert (seen == frames).all() and (seen_masks == masks).all()

    right_and_down = still._replace(position=np.full(3, (5 + 3j) / 64), gain=np.full(3, 0.5))
    seen, seen_masks = render_hard(HardClip(clip.states, right_and_down))
    assert np.abs(np.roll(seen, (3, 5), (1, 2)) - 0.5 * frames).max() <= 0.5  # the world has no border
    assert (np.roll(seen_masks, (3, 5), (1, 2)) == masks).all()


def features_of_pair(clip: HardClip, frame: int) -> list[float]:
    """Where the pair is, how far apart, in which direction, and how big, in one frame."""
    one, two = (clip.states[frame].shapes[number] for number in (0, 1))
    apart = (np.array(two.position) - one.position + 0.5) % 1.0 - 0.5
    turns = 2.0 * np.pi * np.array([*one.position, math.atan2(apart[1], apart[0]) / (2.0 * np.pi)])
    angles = [wave(times * turn) for turn in (*turns, one.angle) for wave in (np.sin, np.cos) for times in (1, 2)]
    return [*angles, one.size, two.size, one.size * two.size, float(np.hypot(*apart)), float(np.hypot(*apart)) ** 2]


@pytest.mark.slow
def test_one_frame_of_the_pair_does_not_tell_the_motion() -> None:
    labels = np.arange(480) % len(NAMES)
    clips = [draw_clip(np.random.default_rng([9, i]), NAMES[label], 64, 13) for i, label in enumerate(labels)]
    targets, half, chance = np.eye(len(NAMES))[labels], len(labels) // 2, 1.0 / len(NAMES)
    for frame in (0, 6):
        features = np.array([features_of_pair(clip, frame) for clip in clips])
        features = np.c_[(features - features.mean(0)) / features.std(0), np.ones(len(features))]
        weights = np.linalg.solve(
            features[:half].T @ features[:half] + np.eye(features.shape[1]), features[:half].T @ targets[:half]
        )
        accuracy = ((features[half:] @ weights).argmax(1) == labels[half:]).mean()
        assert accuracy < chance + 4.0 * math.sqrt(chance * (1.0 - chance) / half)


def test_labels_are_balanced() -> None:
    motions = [clip_draws(NAMES, 0, "val", index)[1] for index in range(48)]
    assert sorted(motions) == sorted(NAMES * 2)


def test_the_harder_dataset_is_written_like_the_easier_one_and_never_into_it(tmp_path: Path) -> None:
    small = {"num_train": 3, "num_val": 0, "num_test": 0, "num_frames": 4, "num_workers": 1, "progress": False}
    write_dataset(tmp_path, difficulty="hard", **small)
    with (tmp_path / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for index, row in enumerate(rows):
        rng, motion = clip_draws(NAMES, 0, "train", index)
        clip = hard_world.draw_clip(rng, motion, 64, 4)
        assert row["label"] == motion == NAMES[int(row["motion_id"])]
        assert int(row["num_objects"]) == len(clip.states[0].shapes) >= 4 and (tmp_path / row["path"]).is_file()
        with np.load(tmp_path / row["mask"]) as stored:
            assert (stored["mask"] == render_hard(clip)[1]).all()
    assert json.loads((tmp_path / "dataset.json").read_text())["motions"] == list(NAMES)
    with pytest.raises(ValueError, match=r"difficulty=hard instead of normal.*choose another folder"):
        write_dataset(tmp_path, **small)
