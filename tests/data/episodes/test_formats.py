"""Episodes are the same in every format, and invalid ones are refused in a sentence."""

import importlib.util
import json
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tests.data.episodes import tiny_episodes as tiny
from tests.data.episodes.tiny_episodes import LENGTHS, SIZE, assert_counts, counter_frames, counter_rows
from vjepa.data.episodes.batch import gather_windows
from vjepa.data.episodes.formats.detection import open_episodes
from vjepa.data.episodes.windows import Windows
from vjepa.models.dynamics.pose import rotation_matrices

WRITERS = {
    "folder": tiny.write_table_of_videos,
    "npz": tiny.write_npz,
    "robomimic": tiny.write_robomimic,
    "flat hdf5": tiny.write_flat_hdf5,
    "lerobot 2": tiny.write_lerobot_2,
    "lerobot 3": tiny.write_lerobot_3,
    "collection": tiny.write_collection,
}
NEEDS = {"robomimic": "h5py", "flat hdf5": "h5py", "droid": "h5py", "lerobot 2": "pyarrow", "lerobot 3": "pyarrow"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory):
    """Writes a format once; the path to open."""
    made: dict[str, Path] = {}

    def path_of(name: str) -> Path:
        if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
            pytest.skip(f"{NEEDS[name]} is not installed")
        if name not in made:
            writer = tiny.write_droid if name == "droid" else WRITERS[name]
            made[name] = writer(tmp_path_factory.mktemp("episodes") / "made")
        return made[name]

    return path_of


def every_window(store, num_steps=2, frame_step=3):
    windows = Windows(store, np.arange(store.num_episodes), num_steps, frame_step)
    return gather_windows(store, *windows.at(np.arange(len(windows))), num_steps, frame_step)


@pytest.mark.parametrize("cache_gigabytes", [2.0, 0.0], ids=["cached", "read each time"])
@pytest.mark.parametrize("name", WRITERS)
def test_actions_lead_from_frame_to_frame_in_every_format(written, name, cache_gigabytes):
    store = open_episodes(written(name), cache_gigabytes=cache_gigabytes)
    assert store.lengths.tolist() == [length - 1 for length in LENGTHS]
    assert (store.num_episodes, store.action_dim, store.state_dim, store.frame_size) == (4, 2, 2, SIZE)
    assert (store.frame_interval, store.num_skipped) == (1, 0)
    batch = every_window(store)
    assert len(batch.starts) == sum(length - 6 for length in LENGTHS)
    assert_counts(batch, frame_step=3)


@pytest.mark.parametrize("name", WRITERS)
def test_one_episode_at_a_time_gives_the_same(written, name):
    store = open_episodes(written(name))
    times = np.array([16, 3, 3])
    np.testing.assert_array_equal(store.actions(3, 4, 9), counter_rows(np.arange(4, 9), 3))
    np.testing.assert_array_equal(store.states(3, times), counter_rows(times, 3))
    assert np.abs(store.frames(3, times).astype(int) - counter_frames(times, 3)).max(initial=0, where=_flat()) <= 2
    assert store.extrinsics.shape == (4, 0)
    assert isinstance(store.name(3), str)


def _flat() -> np.ndarray:  # (1, 1, W, 1) bool: not near the edge in the middle
    columns = np.arange(SIZE[1])
    return (abs(columns - SIZE[1] / 2 + 0.5) > 2)[None, None, :, None]


@pytest.mark.parametrize("name", WRITERS)
def test_frames_are_resized_once_by_area(written, name):
    plain, small = open_episodes(written(name)), open_episodes(written(name), resize=(16, 12))
    assert small.frame_size == (16, 12)
    times = np.array([2, 8])
    expected = [cv2.resize(f, (12, 16), interpolation=cv2.INTER_AREA) for f in plain.frames(2, times)]
    np.testing.assert_array_equal(small.frames(2, times), expected)


@pytest.mark.parametrize("name", [*WRITERS, "droid"])
def test_a_store_survives_the_way_to_a_spawned_worker(written, name):
    store = open_episodes(written(name), resize=(16, 12))
    times = np.array([0, 2])
    before = store.frames(1, times)
    sent = pickle.dumps(store)
    assert len(sent) < 40_000 or name == "npz"  # nothing that was read or mapped travels along
    np.testing.assert_array_equal(pickle.loads(sent).frames(1, times), before)


@pytest.mark.parametrize("name", [*WRITERS, "droid"])
def test_hidden_and_system_files_are_no_episodes(written, tmp_path, name):
    original = written(name)
    root = tmp_path / "copy"
    for file in [original] if original.is_file() else list(original.rglob("*")):
        if file.is_file():
            inside = file.relative_to(original.parent if original.is_file() else original)
            for clutter in (
                inside,
                inside.parent / f"._{inside.name}",
                inside.parent / ".ipynb_checkpoints" / inside.name,
            ):
                (root / clutter).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, root / clutter)
            (root / inside.parent / f"._{inside.name}").write_bytes(b"resource fork")
    plain, store = open_episodes(original), open_episodes(root)
    assert store.lengths.tolist() == plain.lengths.tolist() and store.num_skipped == plain.num_skipped


def test_rates_are_those_of_the_files(written):
    assert open_episodes(written("folder")).fps == 10
    assert open_episodes(written("lerobot 2")).fps == 10
    assert open_episodes(written("npz")).fps is None


def test_another_camera_can_be_asked_for(written):
    assert open_episodes(written("robomimic"), camera="wrist_image").frame_size == (8, 8)
    assert open_episodes(written("lerobot 3"), camera="top").frame_size == SIZE
    with pytest.raises(ValueError, match=r"no frames called 'front' in .*; there is .*obs/wrist_image"):
        open_episodes(written("robomimic"), camera="front")
    with pytest.raises(ValueError, match=r"no camera 'front' in .*; there is observation\.images\.top"):
        open_episodes(written("lerobot 2"), camera="front")


def test_many_episodes_can_stand_in_one_npz_file(tmp_path):
    times = np.arange(9)
    frames = np.stack([counter_frames(times, episode) for episode in range(3)])
    rows = np.stack([counter_rows(times, episode) for episode in range(3)])
    np.savez(tmp_path / "all.npz", images=frames, action=rows[:, :8])
    store = open_episodes(tmp_path / "all.npz")
    assert store.lengths.tolist() == [8, 8, 8] and store.state_dim == 0
    assert_counts(every_window(store), frame_step=3)


# --- DROID


def test_droid_is_subsampled_to_four_frames_per_second_with_pose_differences_as_actions(written):
    store = open_episodes(written("droid"))
    assert store.lengths.tolist() == [4, 3, 2, 4]  # frames 0, 4, 8, ... of 20, 14, 9 and 17
    assert (store.action_dim, store.state_dim, store.fps) == (7, 7, 15 / 4)
    times = np.arange(5)
    frames = store.frames(0, times)
    np.testing.assert_array_equal(np.round((frames[:, :, :20].mean((1, 2, 3)) - 30) / 4), 4 * times)
    states, actions = store.states(0, times), store.actions(0, 0, 4)
    np.testing.assert_allclose(states, tiny.droid_poses(4 * times), atol=1e-6)
    np.testing.assert_allclose(actions[:, [0, 1, 2, 6]], np.diff(states, axis=0)[:, [0, 1, 2, 6]], atol=1e-6)
    turns, rotations = (rotation_matrices(torch.from_numpy(rows[:, 3:6])) for rows in (actions, states))
    np.testing.assert_allclose(turns @ rotations[:-1], rotations[1:], atol=1e-6)
    np.testing.assert_array_equal(store.extrinsics[2], np.arange(6) + 2)


def test_droid_at_its_own_rate(written):
    store = open_episodes(written("droid"), frames_per_second=15)
    assert store.lengths.tolist() == [length - 1 for length in LENGTHS] and store.fps == 15


@pytest.mark.parametrize("harm", ["video", "poses", "no camera", "other length"])
def test_an_episode_of_droid_that_is_not_whole_is_left_out(written, tmp_path, harm):
    root = tmp_path / "droid"
    shutil.copytree(written("droid"), root)
    folder = sorted(path.parent for path in root.rglob("trajectory.h5"))[1]
    if harm == "video":
        (folder / "recordings/MP4/24400334.mp4").write_bytes(b"no video")
    elif harm == "poses":
        (folder / "trajectory.h5").write_bytes(b"no poses")
    elif harm == "no camera":
        next(folder.glob("*.json")).write_text("{}")
    else:
        tiny.write_mp4(folder / "recordings/MP4/24400334.mp4", counter_frames(np.arange(7), 1), 15)
    store = open_episodes(root)
    assert (store.num_episodes, store.num_skipped) == (3, 1)
    assert store.lengths.tolist() == [4, 2, 4]


# --- what is refused


def test_a_broken_video_is_left_out_and_counted(written, tmp_path):
    root = tmp_path / "folder"
    shutil.copytree(written("folder"), root)
    (root / "clips/1.mp4").write_bytes(b"this is no video")
    store = open_episodes(root)
    assert (store.num_episodes, store.num_skipped) == (3, 1)
    assert store.lengths.tolist() == [19, 8, 16]
    for number in (0, 2, 3):
        (root / f"clips/{number}.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match=r"none of 4 videos can be read; .*mp4: "):
        open_episodes(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action": counter_rows(np.arange(14), 1)[:, :1]}, r"actions of .*1\.mp4 have 1 numbers and .*0\.mp4 have 2"),
        ({"action": counter_rows(np.arange(12), 1)}, r"1\.mp4 has 12 rows of actions for 14 frames; there must be as"),
        ({"action": np.full((14, 2), np.inf)}, r"actions of .*1\.mp4 at row 0 are not finite .*leave that episode out"),
        ({"action": np.array(["left"] * 14)}, "they must be numbers, one row for each frame"),
        ({"state": counter_rows(np.arange(13), 1)}, r"1\.mp4 has 13 rows of states for 14 frames"),
        ({"moves": np.zeros((14, 2))}, "no actions in .*: none of action, actions is there, but moves; give its name"),
    ],
)
def test_actions_that_do_not_fit_are_refused(written, tmp_path, change, message):
    root = tmp_path / "folder"
    shutil.copytree(written("folder"), root)
    arrays = change if "moves" in change else {"action": counter_rows(np.arange(14), 1)} | change
    np.savez(root / "1.npz", **arrays)
    if "state" not in change:
        for number in (0, 2, 3):
            rows = counter_rows(np.arange(LENGTHS[number]), number)
            np.savez(root / f"{number}.npz", action=rows)
    with pytest.raises(ValueError, match=message):
        open_episodes(root)


def test_an_odd_name_can_be_given(tmp_path):
    times = np.arange(9)
    rows = counter_rows(times, 0)
    np.savez(tmp_path / "one.npz", images=counter_frames(times, 0), moves=rows, places=rows)
    store = open_episodes(tmp_path, action_key="moves", state_key="places")
    assert_counts(every_window(store), frame_step=3)


def test_frames_of_two_sizes_need_a_resize(tmp_path):
    root = tiny.write_table_of_videos(tmp_path, (9, 9), sizes=((32, 48), (16, 48)))
    with pytest.raises(ValueError, match=r"frames of .*1\.mp4 are 48x16 and those of .*0\.mp4 48x32; give `resize`"):
        open_episodes(root)
    assert_counts(every_window(open_episodes(root, resize=(16, 16))), frame_step=3)


def test_what_is_not_there_is_said(tmp_path, written):
    with pytest.raises(ValueError, match=r"there is no file or folder .*nowhere"):
        open_episodes(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"there are no episodes at .*: no collection"):
        open_episodes(tmp_path)
    with pytest.raises(ValueError, match="format 'zip' must be one of auto, collection, folder"):
        open_episodes(tmp_path, format="zip")
    root = tmp_path / "folder"
    shutil.copytree(written("folder"), root)
    (root / "clips/2.mp4").unlink()
    with pytest.raises(ValueError, match=r"1 of the files that .*episodes\.csv names are not there, .*2\.mp4"):
        open_episodes(root)
    (root / "episodes.csv").write_text("path,label\na.mp4,1\n")
    with pytest.raises(ValueError, match="must have the columns path and actions; it has path, label"):
        open_episodes(root)
    (root / "episodes.csv").write_text("path,actions\n")
    with pytest.raises(ValueError, match="there are no episodes in"):
        open_episodes(root)
    for name, error in (("hdf5", "no HDF5 file at"), ("npz", "no .npz file at"), ("lerobot", "no LeRobot data set")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match=error):
            open_episodes(tmp_path / "empty", format=name)


@pytest.mark.parametrize("name", ["flat hdf5", "droid"])
def test_a_missing_h5py_is_said_with_the_way_out(written, monkeypatch, name):
    root = written(name)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ValueError, match=r"needs h5py: pip install 'video-jepa\[hdf5\]'"):
        open_episodes(root)


def _without(key: str) -> Callable[[Path], None]:
    def remove(path: Path) -> None:
        content = json.loads(path.read_text())
        del content[key]
        path.write_text(json.dumps(content))

    return remove


def _with_text(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


def _cut_short(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def _with_actions(first: Any, others: Any) -> Callable[[Path], None]:
    return lambda path: tiny.set_column(path, "action", [first] + [others] * (LENGTHS[1] - 1))


TABLE_1 = "data/chunk-000/episode_000001.parquet"


@pytest.mark.parametrize(
    ("name", "file", "harm", "message"),
    [
        ("lerobot 2", "meta/episodes.jsonl", Path.unlink, r"there is no file .*episodes\.jsonl"),
        ("lerobot 2", "meta/episodes.jsonl", _with_text("{}\n"), r"episodes\.jsonl line 1 has no 'episode_index'"),
        ("lerobot 2", "meta/episodes.jsonl", _with_text('{"episode_index": "a"}'), "must be of type int, not 'a'"),
        ("lerobot 2", "meta/info.json", _without("fps"), r"info\.json has no 'fps'; it has codebase_version, chunks_"),
        ("lerobot 2", "meta/info.json", _without("features"), r"info\.json has no 'features'"),
        ("lerobot 2", "meta/info.json", _with_text(""), r"info\.json is no JSON"),
        ("lerobot 2", "meta/info.json", _with_text("[1]"), r"info\.json must hold a JSON object, not list"),
        ("lerobot 2", "meta/info.json", _cut_short, r"info\.json is no JSON"),
        ("lerobot 2", TABLE_1, _cut_short, r"000001\.parquet is no Parquet file that can be read"),
        (
            "lerobot 2",
            TABLE_1,
            _with_actions([1.0], [1.0, 2.0]),
            r"action of .*000001\.parquet must be of as many .* row 1",
        ),
        ("lerobot 2", TABLE_1, _with_actions("left", "right"), r"action of .*000001\.parquet must be of as many"),
        ("lerobot 3", "meta/episodes/chunk-000/file-000.parquet", _cut_short, r"file-000\.parquet is no Parquet file"),
        ("lerobot 3", "meta/info.json", _without("video_path"), r"info\.json has no 'video_path'"),
        ("npz", "1.npz", _cut_short, r"1\.npz is no \.npz file, or it is cut short"),
        (
            "npz",
            "1.npz",
            lambda path: np.savez(path, images=1, action=np.array([{}])),
            r"'action' of .*1\.npz can't be",
        ),
        (
            "folder",
            "episodes.csv",
            _with_text("path,actions\nclips/0.mp4\n"),
            r"line 2 of .*episodes\.csv must give path",
        ),
        (
            "folder",
            "episodes.csv",
            lambda path: path.write_bytes(b"path,actions\n\xe4,b"),
            r"episodes\.csv can't be read",
        ),
        ("collection", "episodes.json", _without("lengths"), r"episodes\.json has no 'lengths'"),
        ("collection", "episodes.json", _with_text("{"), r"episodes\.json is no JSON"),
        ("collection", "actions.npy", _cut_short, r"actions\.npy is no \.npy file, or it is cut short"),
        ("robomimic", "demos.hdf5", _cut_short, r"no HDF5 file can be read: .*demos\.hdf5"),
    ],
)
def test_a_damaged_file_is_refused_by_its_name(written, tmp_path, name, file, harm, message):
    made = written(name)
    root = tmp_path / "copy"
    shutil.copytree(made.parent if made.is_file() else made, root)
    harm(root / file)
    with pytest.raises(ValueError, match=message):
        open_episodes(root)


def test_what_is_left_out_is_said(written, tmp_path, caplog):
    root = tmp_path / "folder"
    shutil.copytree(written("folder"), root)
    (root / "clips/1.mp4").write_bytes(b"this is no video")
    open_episodes(root)
    assert "1 of 4 episodes are left out: files can't be read or don't fit each other" in caplog.text
