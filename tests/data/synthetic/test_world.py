"""The synthetic world moves as it says, shows its motion classes only in time, and is written to disk exactly once."""

import csv
import json
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from numpy.typing import NDArray

from vjepa.data.manifest.manifest import read_manifest
from vjepa.data.synthetic import dataset as synthetic_dataset
from vjepa.data.synthetic.dataset import COLUMNS, clip_state, write_dataset
from vjepa.data.synthetic.render import LARGEST_RADIUS, OCCLUDER_ID, outline_distance, render
from vjepa.data.synthetic.world import (
    COLOURS,
    MOTIONS,
    SHAPES,
    TEXTURES,
    Occluder,
    Shape,
    WorldState,
    roll_out,
    sample_world,
    step,
)
from vjepa.data.video.facts import scan_video
from vjepa.data.video.reader import ReaderChain

SMALL = {"num_train": 26, "num_val": 3, "num_test": 2}
CHANCE = 1.0 / len(MOTIONS)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("synthetic"), **SMALL, num_workers=1, progress=False)


def read_rows(folder: Path, split: str) -> list[dict[str, str]]:
    with (folder / f"{split}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def all_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# ---- the world ----


def test_step_and_render_are_deterministic() -> None:
    states = [roll_out(sample_world(np.random.default_rng(3)), 20) for _ in range(2)]
    assert states[0] == states[1]
    (frames, masks), (frames_again, masks_again) = (render(clip) for clip in states)
    assert (frames == frames_again).all() and (masks == masks_again).all()


def test_frames_rendered_together_equal_frames_rendered_alone() -> None:
    for seed in range(6):
        states = roll_out(sample_world(np.random.default_rng(seed)), 5)
        together = render(states)
        alone = [render([state]) for state in states]
        for number, (frame, mask) in enumerate(alone):
            # A patch is as wide as the largest frame of the shape needs; only rounding may differ.
            assert np.abs(frame[0].astype(int) - together[0][number]).max() <= 1
            assert (mask[0] == together[1][number]).mean() > 0.999


def unwrapped_path(shapes: Sequence[Shape]) -> NDArray[np.float64]:
    """Displacement (T, 2) of the centre since the first frame, the way it really went round the torus."""
    steps = np.diff([shape.position for shape in shapes], axis=0)
    return np.concatenate([np.zeros((1, 2)), np.cumsum((steps + 0.5) % 1.0 - 0.5, axis=0)])


@pytest.mark.parametrize("motion", MOTIONS)
def test_every_motion_class_moves_as_named_within_16_frames(motion: str) -> None:
    for seed in range(10):
        states = roll_out(sample_world(np.random.default_rng([seed, MOTIONS.index(motion)]), motion), 16)
        for number in range(len(states[0].shapes)):
            shapes = [state.shapes[number] for state in states]
            path = 64 * unwrapped_path(shapes)  # pixels of a 64 pixel frame
            turned = np.unwrap([shape.angle for shape in shapes])
            turned = np.degrees(turned - turned[0])
            sizes = np.array([shape.size for shape in shapes])
            spread = path.max(axis=0) - path.min(axis=0)
            if not motion.startswith("rotate"):
                assert np.allclose(turned, 0.0)
            if motion != "pulsate":
                assert np.allclose(sizes, sizes[0])
            if motion.startswith(("rotate", "pulsate")):
                assert np.allclose(path, 0.0)

            if motion.startswith("move"):
                right, down = {"right": (1, 0), "left": (-1, 0), "up": (0, -1), "down": (0, 1)}[motion[5:]]
                speeds = np.diff(path, axis=0) @ np.array([right, down])
                assert (speeds > 0.74).all() and (speeds < 2.01).all()
                assert np.allclose(path @ np.array([down, right]), 0.0)
            elif motion.startswith("rotate"):
                sign = 1 if motion == "rotate_clockwise" else -1  # y points down: growing angles turn clockwise
                assert sign * turned[-1] >= 90.0 and (sign * np.diff(turned) < 20.0).all()
            elif motion.startswith("orbit"):
                sign = 1 if motion == "orbit_clockwise" else -1
                velocity, acceleration = np.diff(path, axis=0)[:-1], np.diff(path, n=2, axis=0)
                curl = velocity[:, 0] * acceleration[:, 1] - velocity[:, 1] * acceleration[:, 0]
                assert (sign * curl > 0.0).all() and (spread > 8.0).all()
            elif motion.startswith("bounce"):
                along = 0 if motion == "bounce_horizontally" else 1
                speeds = np.diff(path[:, along])
                assert np.allclose(path[:, 1 - along], 0.0) and spread[along] > 8.0
                assert speeds.min() < -0.5 and speeds.max() > 0.5  # it really turns back
            elif motion == "pulsate":
                assert sizes.max() / sizes.min() > 1.3
            else:
                along = 0 if spread[0] > 0 and is_straight(path[:, 0]) else 1
                across = np.diff(path[:, 1 - along])
                assert is_straight(path[:, along]) and spread[along] > 11.0
                assert across.min() < -0.5 and across.max() > 0.5


def is_straight(positions: NDArray[np.float64]) -> bool:
    return np.allclose(np.diff(positions), positions[1] - positions[0])


def test_objects_that_leave_on_one_side_come_in_at_the_other() -> None:
    state = sample_world(np.random.default_rng(0), "move_right")
    shape = replace(state.shapes[0], kind="square", position=(0.0, 0.5), angle=0.0)
    mask = render([replace(state, shapes=(shape,), occluders=())])[1][0]
    assert (mask[32, :4] == 1).all() and (mask[32, -4:] == 1).all() and (mask[32, 24:40] == 0).all()


def test_the_first_object_is_the_biggest_and_lies_in_front() -> None:
    for seed in range(20):
        state = sample_world(np.random.default_rng(seed))
        sizes = [shape.base_size for shape in state.shapes]
        assert sizes[0] == max(sizes)
        alone = render([replace(state, shapes=state.shapes[:1])])[1]
        assert ((alone == 1) == (render([state])[1] == 1)).all()


def test_a_state_edited_in_mid_clip_shows_the_event_from_there_on() -> None:
    before = roll_out(replace(sample_world(np.random.default_rng(5), "move_left"), occluders=()), 6)
    shape = before[-1].shapes[0]
    for edited in (
        replace(shape, visible=False),
        replace(shape, position=((shape.position[0] + 0.5) % 1.0, shape.position[1])),
        replace(shape, tones=((0.0, 0.0, 1.0), (1.0, 1.0, 1.0))),
        replace(shape, kind="ring" if shape.kind != "ring" else "circle"),
    ):
        after = roll_out(step(replace(before[-1], shapes=(edited, *before[-1].shapes[1:]))), 6)
        possible, impossible = render(roll_out(before[0], 12))[0], render(before + after)[0]
        assert (possible[:6] == impossible[:6]).all()
        assert (possible[6:] != impossible[6:]).any(axis=(1, 2, 3)).all()


# ---- masks ----


def test_masks_cover_what_the_object_changes_and_nothing_else() -> None:
    for seed in range(20):
        state = sample_world(np.random.default_rng(seed))
        frames, masks = render([state])
        hidden = replace(state, shapes=(replace(state.shapes[0], visible=False), *state.shapes[1:]))
        changed = (frames[0] != render([hidden])[0][0]).any(axis=-1)
        object_one = masks[0] == 1
        assert object_one.sum() > 20
        assert changed[object_one].mean() > 0.97
        shifts = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
        near = np.any([np.roll(object_one, shift, axis=(0, 1)) for shift in shifts], axis=0)
        assert near[changed].mean() > 0.95  # beyond the mask only the soft edge, about one pixel wide, and sharp tips


@pytest.mark.parametrize("kind", SHAPES)
def test_no_outline_reaches_beyond_the_patch_it_is_drawn_into(kind: str) -> None:
    v, u = np.mgrid[-2:2:400j, -2:2:400j]
    inside = outline_distance(kind, u, v) < 0.0
    assert 0.8 < np.hypot(u, v)[inside].max() <= LARGEST_RADIUS


def test_an_occluder_hides_objects_in_picture_and_mask() -> None:
    state = replace(sample_world(np.random.default_rng(1)), occluders=(Occluder(True, 0.5, 0.1, (0.5, 0.5, 0.5)),))
    moved = replace(state, shapes=(replace(state.shapes[0], kind="circle", position=(0.5, 0.5)),))
    frames, masks = render([moved, replace(moved, shapes=())])
    assert (masks[0][:, 30:34] == OCCLUDER_ID).all() and (masks[0] == 1).any()
    assert (frames[0][:, 30:34] == frames[1][:, 30:34]).all()


# ---- one frame does not tell the motion, several do ----


def test_the_first_frame_is_the_same_whatever_the_motion() -> None:
    pictures = [render([sample_world(np.random.default_rng(9), motion)])[0] for motion in MOTIONS]
    assert all((picture == pictures[0]).all() for picture in pictures)


def accuracy_of_readout(features: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Ridge regression onto one-hot classes, trained on the first half, scored on the second."""
    half = len(labels) // 2
    features = (features - features[:half].mean(0)) / (features[:half].std(0) + 1e-6)
    features = np.concatenate([features, np.ones((len(labels), 1))], axis=1)
    train, targets = features[:half], np.eye(len(MOTIONS))[labels[:half]]
    weights = np.linalg.solve(train.T @ train + 0.1 * half * np.eye(train.shape[1]), train.T @ targets)
    return float(((features[half:] @ weights).argmax(1) == labels[half:]).mean())


def accuracy_of_neighbours(features: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The label of the nearest clip of the first half, scored on the second half."""
    half = len(labels) // 2
    features = (features - features[:half].mean(0)) / (features[:half].std(0) + 1e-6)
    train, test = features[:half], features[half:]
    nearest = ((train**2).sum(1) - 2.0 * test @ train.T).argmin(1)
    return float((labels[nearest] == labels[half:]).mean())


def largest_accuracy_by_luck(num_test: int) -> float:
    """Four standard deviations above chance: luck alone gets there about once in thirty thousand tries."""
    return CHANCE + 4.0 * math.sqrt(CHANCE * (1.0 - CHANCE) / num_test)


def features_of_state(state: WorldState) -> list[float]:
    shape = state.shapes[0]
    turns = 2.0 * math.pi * np.array([*shape.position, shape.angle / (2.0 * math.pi), shape.pulse_phase])
    waves = [wave(times * turn) for turn in turns[:3] for wave in (np.sin, np.cos) for times in (1, 2)]
    looks = [COLOURS.index(shape.colour), SHAPES.index(shape.kind), TEXTURES.index(shape.texture)]
    # Where the ground lies can't be seen: its pattern is alike everywhere.
    ground = [wave(times * state.ground.angle) for wave in (np.sin, np.cos) for times in (1, 2)]
    world = [len(state.shapes), len(state.occluders), state.ground.scale, *ground]
    return [*waves, *looks, *world, shape.size, shape.size**2, shape.base_size, shape.texture_phase]


@pytest.mark.slow
def test_the_state_of_one_frame_does_not_tell_the_motion() -> None:
    num_clips = 1200
    labels = np.arange(num_clips) % len(MOTIONS)
    clips = [
        roll_out(sample_world(np.random.default_rng([20, index]), MOTIONS[label]), 24)
        for index, label in enumerate(labels)
    ]
    for frame in (0, 11, 23):
        features = np.array([features_of_state(states[frame]) for states in clips])
        for accuracy in (accuracy_of_readout(features, labels), accuracy_of_neighbours(features, labels)):
            assert accuracy < largest_accuracy_by_luck(num_clips // 2)


def flow_of_object(frames: NDArray[np.uint8]) -> list[float]:
    """Shift, turn and growth per step around where most happens, by least squares on the brightness of (T, H, W, 3)."""
    grey = frames.astype(np.float64).mean(-1)
    before_after = 0.5 * (grey[1:] + grey[:-1])
    slope_t = np.diff(grey, axis=0)
    slope_y, slope_x = (0.5 * (np.roll(before_after, -1, axis) - np.roll(before_after, 1, axis)) for axis in (1, 2))
    size = grey.shape[1]
    places = np.exp(2j * np.pi * np.arange(size) / size)
    energy = (slope_t**2).sum(0)
    rows, columns = (np.angle((energy.sum(axis) * places).sum()) / (2.0 * np.pi) * size for axis in (1, 0))
    y, x = (((np.arange(size) - centre + size / 2) % size - size / 2) for centre in (rows, columns))
    near = (np.hypot(y[:, None], x[None, :]) < 0.35 * size) * 1.0
    turning = slope_y * x - slope_x * y[:, None]
    growing = slope_y * y[:, None] + slope_x * x
    basis = np.stack([slope_x, slope_y, turning / 8.0, growing / 8.0]) * near
    gram = np.einsum("athw,bthw->tab", basis, basis) + 1e3 * np.eye(4)
    flow = -np.linalg.solve(gram, np.einsum("athw,thw->ta", basis, slope_t)[..., None])[..., 0]
    right, down = flow[:, 0], flow[:, 1]
    curl = (right[:-1] * down[1:] - down[:-1] * right[1:]).mean()
    return [*flow.mean(0), *flow.std(0), *np.abs(flow).mean(0), curl]


@pytest.mark.slow
def test_one_picture_does_not_tell_the_motion_but_differences_of_pictures_do() -> None:
    num_clips = 720
    labels = np.arange(num_clips) % len(MOTIONS)
    single, flows = [], []
    for index, label in enumerate(labels):
        rng = np.random.default_rng([30, index])
        states = roll_out(sample_world(rng, MOTIONS[label]), 20)
        frames = render(states[int(rng.integers(8)) :][:12])[0]
        frame = frames[-1].astype(np.float64)
        single.append(frame.reshape(8, 8, 8, 8, 3).mean(axis=(1, 3)).ravel())
        flows.append(flow_of_object(frames))
    pictures, motions = np.array(single), np.array(flows)
    assert accuracy_of_readout(pictures, labels) < largest_accuracy_by_luck(num_clips // 2)
    assert accuracy_of_neighbours(pictures, labels) < largest_accuracy_by_luck(num_clips // 2)
    assert accuracy_of_readout(motions, labels) > 6.0 * CHANCE


# ---- the files ----


def test_motion_classes_are_balanced_in_every_split(dataset: Path) -> None:
    motions = [clip_state(0, "train", index, 64).motion for index in range(120)]
    assert [motions.count(motion) for motion in MOTIONS] == [10] * len(MOTIONS)
    assert [row["label"] for row in read_rows(dataset, "train")] == motions[:26]


def test_manifests_name_every_file_and_describe_the_main_object(dataset: Path) -> None:
    for split, count in (("train", 26), ("val", 3), ("test", 2)):
        rows = read_rows(dataset, split)
        assert len(rows) == count and tuple(rows[0]) == COLUMNS
        for index, row in enumerate(rows):
            state = clip_state(0, split, index, 64)
            shape = state.shapes[0]
            assert (dataset / row["path"]).is_file() and (dataset / row["mask"]).is_file()
            assert row["label"] == MOTIONS[int(row["motion_id"])] == state.motion
            assert [row["shape"], row["texture"], row["colour"]] == [shape.kind, shape.texture, shape.colour]
            assert [row[name] for name in ("frames", "fps", "width", "height")] == ["32", "16.0", "64", "64"]
    facts = json.loads((dataset / "dataset.json").read_text())
    assert facts["counts"] == {"train": 26, "val": 3, "test": 2} and facts["arguments"]["seed"] == 0


def test_videos_decode_frame_for_frame_to_what_was_rendered(dataset: Path) -> None:
    ratios = []
    for index, row in enumerate(read_rows(dataset, "train")[:12]):
        rendered, object_masks = render(roll_out(clip_state(0, "train", index, 64), 32))
        chain, path = ReaderChain(), str(dataset / row["path"])
        facts = chain.scan(path)
        assert (facts.num_frames, facts.fps) == (32, 16.0)
        decoded = chain.decode(path, facts, range(32))
        errors = ((decoded.astype(np.float64) - rendered) ** 2).mean(axis=(1, 2, 3))
        ratios += list(10.0 * np.log10(255.0**2 / errors))
        with np.load(dataset / row["mask"]) as stored:
            assert (stored["mask"] == object_masks).all()
    assert np.mean(ratios) > 26.0 and np.min(ratios) > 23.0  # the grain of the ground is fine, its colours halved


def test_videos_are_h264_with_a_key_frame_every_16_frames_and_square_pixels(dataset: Path) -> None:
    with av.open(str(dataset / "videos/train/00000.mp4")) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
        assert stream.sample_aspect_ratio in (None, 1)
    assert [number for number, frame in enumerate(frames) if frame.key_frame] == [0, 16]
    assert "B" not in {str(PictureType(frame.pict_type).name) for frame in frames}
    content = (dataset / "videos/train/00000.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # a player can start before the file has all arrived


@pytest.mark.slow
def test_files_are_the_same_whatever_the_number_of_workers(dataset: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path, **SMALL, num_workers=2, progress=False)
    assert all_files(tmp_path) == all_files(dataset)


def test_another_seed_and_another_split_give_other_clips() -> None:
    states = [clip_state(0, "train", 0, 64), clip_state(1, "train", 0, 64), clip_state(0, "val", 0, 64)]
    assert len({state.shapes[0].position for state in states}) == 3


def test_an_interrupted_call_is_taken_up_where_it_stopped(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode_video, calls = synthetic_dataset.encode_video, []

    def encode_five_and_stop(path: Path, frames: NDArray[np.uint8], fps: int, lookahead: bool = True) -> None:
        calls.append(path)
        encode_video(path, frames, fps, lookahead)
        if len(calls) == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(synthetic_dataset, "encode_video", encode_five_and_stop)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path, **SMALL, num_workers=1, progress=False)
    assert len(list(tmp_path.glob("videos/train/*.mp4"))) == 5
    assert not (tmp_path / "dataset.json").exists() and not list(tmp_path.rglob("*.tmp"))
    with pytest.raises(ValueError, match=r"choose another folder, .*, or ask for the same arguments"):
        write_dataset(tmp_path, **SMALL, seed=1, num_workers=1, progress=False)
    write_dataset(tmp_path, **SMALL, num_workers=1, progress=False)
    assert len(calls) == 6 + sum(SMALL.values()) - 5
    assert all_files(tmp_path) == all_files(dataset)


def test_a_second_call_returns_at_once(dataset: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*")}
    start = time.perf_counter()
    assert write_dataset(dataset, **SMALL, progress=False) == dataset
    assert time.perf_counter() - start < 0.5
    assert before == {path: path.stat().st_mtime_ns for path in dataset.rglob("*")}


def test_a_call_with_other_arguments_is_refused_with_the_difference_and_a_way_out(dataset: Path) -> None:
    with pytest.raises(ValueError, match=r"size=64 instead of 128.*delete its videos/, masks/ and dataset\*\.json"):
        write_dataset(dataset, **SMALL, size=128, progress=False)


def test_videos_of_unknown_origin_are_never_mixed_in(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    with pytest.raises(
        ValueError, match=r"without a dataset\.json, and two datasets must not mix.*delete it or choose another folder"
    ):
        write_dataset(tmp_path, **SMALL, progress=False)


def test_arguments_that_cannot_be_encoded_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"size \(63\) must be an even number of pixels.*try 64"):
        write_dataset(tmp_path, size=63)
    with pytest.raises(ValueError, match=r"num_val \(-1\) must not be negative; try num_val=0"):
        write_dataset(tmp_path, num_val=-1)
    with pytest.raises(ValueError, match=r"'spin'\) must be one of the motion classes"):
        sample_world(np.random.default_rng(0), "spin")


def test_progress_off_a_terminal_is_a_few_plain_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dataset(tmp_path, num_train=4, num_val=0, num_test=0, num_frames=2, num_workers=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"synthetic clips in {tmp_path}: 4" and lines[-1].startswith("4 of 4 after")
    assert len(lines) <= 5 and read_rows(tmp_path, "val") == []


def test_the_manifest_tells_what_a_scan_would(tmp_path: Path) -> None:
    for num_frames in (5, 20):
        folder = tmp_path / str(num_frames)
        write_dataset(folder, num_train=2, num_val=0, num_test=0, num_frames=num_frames, num_workers=1, progress=False)
        manifest = read_manifest(folder / "train.csv")
        assert [manifest.facts(row) for row in range(2)] == [scan_video(path) for path in manifest.paths]


def test_any_even_size_shows_the_same_scene() -> None:
    state = sample_world(np.random.default_rng(4))
    (small, small_mask), (big, big_mask) = render([state]), render([replace(state, size=128)])
    assert (big_mask[0, ::2, ::2] == small_mask[0]).mean() > 0.98
    shrunk = big[0].astype(np.float64).reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    inside = small_mask[0] > 0  # the grain of the ground is drawn for its size, and no finer on a larger frame
    assert np.abs(shrunk - small[0])[inside].mean() < 20.0
