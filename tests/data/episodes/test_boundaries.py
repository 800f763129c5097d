"""Episodes that stand one after another in flat arrays are cut where the file says so, or the file is refused."""

from pathlib import Path

import numpy as np
import pytest

from tests.data.episodes.tiny_episodes import SIZE, counter_frames, counter_rows, write_mp4
from vjepa.data.episodes.boundaries import episode_spans
from vjepa.data.episodes.formats.detection import open_episodes

LENGTHS = (20, 14, 9)
ENDS = np.cumsum(LENGTHS)  # rows behind the last ones
NUM_ROWS = int(ENDS[-1])


def rows_set(*rows: int) -> np.ndarray:  # (NUM_ROWS,) bool
    flags = np.zeros(NUM_ROWS, bool)
    flags[list(rows)] = True
    return flags


LAST, FIRST = rows_set(*(ENDS - 1)), rows_set(0, 20, 34)
NUMBERS = np.repeat([4, 5, 9], LENGTHS)
COUNTER = np.concatenate([np.arange(length) for length in LENGTHS])
TIMED_OUT, ENDED = rows_set(33), rows_set(19, 42)
STATED = {
    "terminals": {"terminals": LAST.astype(np.float32)},
    "terminals in a column": {"terminals": LAST[:, None]},
    "timeouts": {"timeouts": LAST},
    "terminals or timeouts": {"terminals": ENDED, "timeouts": TIMED_OUT},
    "terminals or a counter": {"terminals": ENDED, "timestep": COUNTER},
    "gymnasium": {"terminated": ENDED, "truncated": TIMED_OUT},
    "minari": {"terminations": ENDED, "truncations": TIMED_OUT},
    "dones": {"dones": LAST.astype(np.int64)},
    "next.done": {"next.done": LAST},
    "done, none at the end": {"done": rows_set(19, 33)},
    "RLDS": {"is_first": FIRST, "is_last": LAST, "is_terminal": rows_set(42)},
    "is_first alone": {"is_first": FIRST.astype(np.uint8)},
    "camel case": {"isLast": LAST},
    "episode_ends": {"episode_ends": ENDS},
    "Diffusion Policy": {"meta/episode_ends": ENDS},
    "flags called episode_end": {"episode_end": LAST},
    "episode_index": {"episode_index": NUMBERS},
    "episode_idx as floats": {"episode_idx": NUMBERS.astype(float)},
    "ep_idx": {"ep_idx": NUMBERS},
    "episode_id as names": {"episode_id": np.array([f"take_{n}".encode() for n in NUMBERS])},
    "traj_id": {"traj_id": NUMBERS},
    "ep_len": {"ep_len": np.array(LENGTHS)},
    "ep_offset": {"ep_offset": ENDS - LENGTHS},
    "episode_starts": {"episode_starts": ENDS - LENGTHS},
    "traj_lengths": {"traj_lengths": np.array(LENGTHS)},
    "stable-worldmodel": {
        "ep_len": np.array(LENGTHS),
        "ep_offset": ENDS - LENGTHS,
        "ep_idx": NUMBERS,
        "step_idx": COUNTER,
        "terminated": ENDED,
        "truncated": rows_set(33, 42),
        "episode_name": np.array([b"a", b"b", b"c"]),
    },
    "frame_index": {"frame_index": COUNTER},
    "timestamp": {"timestamp": COUNTER / 10},
    "dm_env": {"step_type": np.where(FIRST, 0, np.where(LAST, 2, 1))},
    "short names": {"term": ENDED, "trunc": TIMED_OUT},
    "absorbing": {"absorbing": LAST},
    "done_bool": {"done_bool": LAST.astype(np.float32)},
    "other counters": {"step_in_episode": COUNTER},
    "elapsed_steps": {"elapsed_steps": COUNTER},
    "step_count": {"step_count": COUNTER + 1},
    "t": {"t": COUNTER},
    "times with a unit": {"timestamp_ns": COUNTER * 10**8},
}


def write(path: Path, extra: dict[str, np.ndarray], num_rows: int = NUM_ROWS) -> Path:
    """Flat arrays whose frames, actions and states tell the row."""
    rows = counter_rows(np.arange(num_rows), 0)
    arrays = {"observations": counter_frames(np.arange(num_rows), 0), "actions": rows, "state": rows, **extra}
    if path.suffix == ".npz":
        np.savez(path, **arrays)
        return path
    import h5py

    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


def open_flat(path: Path, extra: dict[str, np.ndarray]):
    if path.suffix == ".h5":
        pytest.importorskip("h5py")
    return open_episodes(write(path, extra))


def assert_cut(store) -> None:
    """No window can reach over an episode's end: each has its own rows, from its first to its last."""
    assert store.lengths.tolist() == [length - 1 for length in LENGTHS]
    for episode, (start, stop) in enumerate(zip(ENDS - LENGTHS, ENDS, strict=True)):
        times = np.arange(stop - start)
        np.testing.assert_array_equal(store.states(episode, times)[:, 0], start + times)
        np.testing.assert_array_equal(store.actions(episode, 0, len(times) - 1)[:, 0], start + times[:-1])
        shown = (store.frames(episode, times)[:, 0, 0, 0].astype(int) - 30) / 4
        np.testing.assert_array_equal(shown, start + times)


@pytest.mark.parametrize("suffix", ["npz", "h5"])
@pytest.mark.parametrize("extra", STATED.values(), ids=STATED)
def test_episodes_end_where_the_file_says(tmp_path, suffix, extra):
    assert_cut(open_flat(tmp_path / f"flat.{suffix}", extra))


@pytest.mark.parametrize("suffix", ["npz", "h5"])
@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"terminals": rows_set(NUM_ROWS - 1)},
        {"terminals": rows_set(), "timeouts": rows_set()},
        {"terminations": rows_set(NUM_ROWS - 1)[1:]},  # of transitions
        {"episode_index": np.full(NUM_ROWS, 7), "timestamp": np.arange(NUM_ROWS) / 10},
        {"episode_id": np.array(3), "episode_ends": np.array([NUM_ROWS]), "ep_len": np.array([NUM_ROWS])},
        {"episode_step": np.arange(NUM_ROWS)[::-1]},  # steps that are left
        {
            "start": np.zeros(2),
            "end": np.array([0.3, 0.7]),
            "end_effector_open": rows_set(3),
            "contact_mask": rows_set(3),
        },
        {"episode_length": np.array(NUM_ROWS - 1), "timeout": np.array(30.0)},
        {
            "recording_ns": 33 * np.arange(NUM_ROWS),
            "seq": np.arange(NUM_ROWS),
            "eps": np.linspace(1, 0, NUM_ROWS),
            "lens": np.array(35.0),
        },
        {"reset": rows_set(0), "discount": ~rows_set(NUM_ROWS - 1), "last": rows_set(NUM_ROWS - 1)},
        {"step_type": np.array([0, *[1] * (NUM_ROWS - 2), 2]), "take_over": rows_set(7), "t": np.arange(NUM_ROWS)},
        {"start": np.array([1.0, 2.0]), "video_id": np.full(NUM_ROWS, 3), "lens": np.array([NUM_ROWS])},
        {"episode_return": np.arange(NUM_ROWS), "end_effector": np.zeros((NUM_ROWS, 3)), "valid": np.ones(NUM_ROWS)},
    ],
)
def test_one_episode_stays_one(tmp_path, suffix, extra):
    store = open_flat(tmp_path / f"flat.{suffix}", extra)
    assert store.lengths.tolist() == [NUM_ROWS - 1]


@pytest.mark.parametrize("suffix", ["npz", "h5"])
@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"terminals": LAST[:-3]}, r"'terminals' of .*flat.* has shape \(40,\).* each of 43 frames"),
        ({"terminals": LAST[1:]}, "'terminals' of .* has 42 values for 43 frames"),
        ({"timeouts": np.linspace(0, 1, NUM_ROWS)}, "'timeouts' of .* must be flags, 0 or 1 .* has 0.0238"),
        ({"dones": np.where(LAST, np.nan, 0)}, "'dones' of .* must be flags, .* has nan"),
        ({"done": np.stack([LAST, LAST], 1)}, r"'done' of .* has shape \(43, 2\)"),
        ({"terminals": FIRST}, "'terminals' of .* is set at row 0 .* its name must be 'is_first'"),
        ({"is_first": LAST}, "'is_first' of .* is not set at row 0"),
        ({"episode_ends": ENDS + 1}, "'episode_ends' of .* has 44, and there are 43 frames"),
        ({"episode_ends": ENDS - 1}, r"'episode_ends' of .* must ascend to 43, .* ends with \[33, 42\]"),
        ({"episode_ends": ENDS[[1, 0, 2]]}, "'episode_ends' of .* must ascend"),
        ({"episode_ends": ENDS + 0.5}, "'episode_ends' of .* must be whole numbers"),
        ({"episode_index": NUMBERS[:-1]}, r"'episode_index' of .* has shape \(42,\)"),
        ({"episode_index": NUMBERS[::-1]}, r"'episode_index' of .* must not fall .* \[9, 5, 4\]"),
        ({"episode_idx": np.repeat([0, 1, 0], LENGTHS)}, "'episode_idx' of .* must not fall"),
        ({"episode_index": np.arange(NUM_ROWS)}, "'episode_index' of .* is another in every row"),
        ({"episode_id": np.repeat([b"a", b"b", b"a"], LENGTHS)}, "'episode_id' of .* comes back to an episode"),
        ({"ep_len": np.array([20, 14, 10])}, "'ep_len' of .* sums to 44, and there are 43 frames"),
        ({"ep_len": np.array([20, 14])}, "'ep_len' of .* sums to 34, and there are 43 frames"),
        ({"ep_len": np.array([20, -14, 9])}, "'ep_len' of .* has -14"),
        ({"ep_len": np.array(LENGTHS), "ep_offset": np.array([0, 20, 35])}, "gives an episode rows 35 to 44, but the"),
        (
            {"ep_len": np.array(LENGTHS), "ep_offset": np.array([0, 19, 34])},
            "rows 0 to 20, but the next one begins at row 19",
        ),
        (
            {"ep_len": np.array(LENGTHS), "ep_offset": np.array([0, 20])},
            "'ep_len' of .* has 3 episodes and 'ep_offset' of .* 2",
        ),
        (
            {"ep_len": np.array([43]), "ep_offset": np.array([0]), "traj_start": np.array([1])},
            "not the same first rows",
        ),
        ({"ep_offset": np.array([3, 20])}, r"'ep_offset' of .* must ascend from 0, .* is \[3, 20\]"),
        ({"episode_index": NUMBERS, "dones": rows_set(10, 33)}, "'dones' of .* before row 11, .* 'episode_index'"),
        ({"episode_index": NUMBERS, "is_first": rows_set(0, 21, 34)}, "'is_first' .* disagree .* at row 20"),
        ({"episode_ends": ENDS, "ep_idx": np.repeat([0, 1], [20, 23])}, "disagree whether an episode begins at row 34"),
        (
            {"episode_index": np.zeros(NUM_ROWS), "step_idx": COUNTER},
            "by 'step_idx' of .* before row 20, .* by 'episode_index'",
        ),
        ({"resets": FIRST}, "'resets' of .* may say where episodes begin, and it is not known how"),
        ({"trial": NUMBERS}, "'trial' of .* may say where"),
        ({"trial": np.repeat([b"a", b"b", b"a"], LENGTHS)}, "'trial' of .* may say where"),
        ({"video_id": NUMBERS}, "'video_id' of .* may say where"),
        ({"num_frames": np.array(LENGTHS)}, "'num_frames' of .* may say where"),
        ({"step_type": COUNTER}, "'step_type' of .* must be 0 at first rows, 2 at last ones, and 1 between"),
        ({"episode_length": np.array(20)}, "'episode_length' of .* sums to 20, and there are 43 frames"),
        ({"starts": ENDS - LENGTHS}, "'starts' of .* may say where"),
        ({"env_reset": FIRST}, "'env_reset' of .* may say where"),
        ({"not_dones": ~LAST}, "'not_dones' of .* may say where"),
        ({"episode_bounds": np.stack([ENDS - LENGTHS, ENDS], 1)}, "'episode_bounds' of .* may say where"),
        ({"trajectory_rows": np.array(LENGTHS)}, "'trajectory_rows' of .* may say where"),
        ({"masks": (~LAST).astype(np.float32)}, "'masks' of .* may say where"),
    ],
)
def test_what_can_not_be_understood_is_refused_by_name(tmp_path, suffix, extra, message):
    with pytest.raises(ValueError, match=message):
        open_flat(tmp_path / f"flat.{suffix}", extra)


@pytest.mark.parametrize("suffix", ["npz", "h5"])
def test_an_episode_of_length_0_is_left_out_and_that_is_said(tmp_path, caplog, suffix):
    store = open_flat(tmp_path / f"flat.{suffix}", {"ep_len": np.array([20, 0, 14, 9])})
    assert_cut(store)
    assert store.num_skipped == 1
    assert "1 of 4 episodes have no rows and are left out, such as" in caplog.text
    assert f"flat.{suffix} episode 1" in caplog.text


def test_rows_between_the_episodes_of_an_index_are_left_out_and_that_is_said(tmp_path, caplog):
    extra = {"ep_len": np.array([20, 9]), "ep_offset": np.array([0, 34]), "episode_index": NUMBERS, "dones": LAST}
    store = open_flat(tmp_path / "flat.npz", extra)
    assert store.lengths.tolist() == [19, 8]
    np.testing.assert_array_equal(store.states(1, np.array([0, 8]))[:, 0], [34, 42])
    assert "14 rows of" in caplog.text and "belong to no episode and are left out" in caplog.text


def test_actions_of_several_episodes_need_a_row_for_each_frame(tmp_path):
    rows = counter_rows(np.arange(NUM_ROWS - 3), 0)  # none after the last frame of each episode
    with pytest.raises(ValueError, match="has 40 rows of actions for 43 frames of 3 episodes"):
        open_flat(tmp_path / "flat.npz", {"episode_ends": ENDS, "actions": rows})


def test_an_episode_of_one_row_at_the_end_is_one(tmp_path):
    store = open_flat(tmp_path / "flat.npz", {"terminals": rows_set(41, 42)})
    assert store.lengths.tolist() == [41, 0]


def test_groups_of_episodes_have_ends_of_their_own(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "demos.hdf5", "w") as file:
        for number, length in enumerate(LENGTHS):
            group = file.create_group(f"data/demo_{number}")
            group["actions"] = group["states"] = counter_rows(np.arange(length), number)
            group["obs/image"] = counter_frames(np.arange(length), number)
            # True while the task is done: at the end, and for one or two rows before it.
            group["dones"] = np.isin(np.arange(length), (3, length - 2 + number % 2, length - 1))[:, None]
            group["src_demo_inds"] = np.arange(3)  # MimicGen's
        file["mask/train"] = np.array([b"demo_0", b"demo_1"])
    assert open_episodes(tmp_path).lengths.tolist() == [19, 13, 8]


def test_ends_beside_the_group_of_the_data_are_read(tmp_path):
    h5py = pytest.importorskip("h5py")
    rows = counter_rows(np.arange(NUM_ROWS), 0)
    with h5py.File(tmp_path / "pusht.h5", "w") as file:
        file["data/img"], file["data/action"], file["data/state"] = counter_frames(np.arange(NUM_ROWS), 0), rows, rows
        file["meta/episode_ends"] = ENDS
    assert_cut(open_episodes(tmp_path))


def test_flat_arrays_in_groups_are_cut_in_each(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "splits.h5", "w") as file:
        for name in ("train", "val"):
            group = file.create_group(name)
            group["images"] = counter_frames(np.arange(NUM_ROWS), 0)
            group["actions"] = counter_rows(np.arange(NUM_ROWS), 0)
            group["terminals"] = LAST
    assert open_episodes(tmp_path).lengths.tolist() == [19, 13, 8] * 2


def test_padding_of_episodes_of_one_array_is_left_out(tmp_path):
    frames = np.stack([counter_frames(np.arange(20), episode) for episode in range(3)])
    rows = np.stack([counter_rows(np.arange(20), episode) for episode in range(3)])
    arrays = {"images": frames, "action": rows, "state": rows}
    dones = np.arange(20) == np.array(LENGTHS)[:, None] - 1
    np.savez(tmp_path / "padded.npz", **arrays, dones=dones, lengths=np.array(LENGTHS))
    store = open_episodes(tmp_path)
    assert store.lengths.tolist() == [19, 13, 8]
    np.testing.assert_array_equal(store.states(2, np.arange(9)), rows[2, :9])
    np.savez(tmp_path / "padded.npz", **arrays, dones=dones)
    with pytest.raises(ValueError, match=r"dones.* of .*padded\.npz end episode 1 before its last row.* 'ep_len'"):
        open_episodes(tmp_path)
    np.savez(tmp_path / "padded.npz", **arrays, dones=np.arange(20) == np.full((3, 1), 19), episode_id=np.arange(3))
    assert open_episodes(tmp_path).lengths.tolist() == [19] * 3


def test_a_video_of_several_episodes_is_cut(tmp_path):
    (tmp_path / "episodes.csv").write_text("path,actions\na.mp4,a.npz\n")
    write_mp4(tmp_path / "a.mp4", counter_frames(np.arange(NUM_ROWS), 0))
    rows = counter_rows(np.arange(NUM_ROWS), 0)
    np.savez(tmp_path / "a.npz", action=rows, state=rows, terminals=LAST)
    store = open_episodes(tmp_path)
    assert store.lengths.tolist() == [19, 13, 8]
    shown = store.frames(1, np.arange(14))[:, :, : SIZE[1] // 2 - 1].mean((1, 2, 3))
    np.testing.assert_array_equal(np.round((shown - 30) / 4), 20 + np.arange(14))


def test_objects_beside_the_arrays_do_not_matter(tmp_path):
    notes = np.array([{"who": "me"}, None], dtype=object)
    assert open_flat(tmp_path / "flat.npz", {"episode_notes": notes}).num_episodes == 1
    with pytest.raises(ValueError, match=r"array 'episode_index' of .*flat\.npz can't be read: .*not of objects"):
        open_flat(tmp_path / "flat.npz", {"episode_index": np.array([None] * NUM_ROWS)})


def test_spans_of_no_arrays_are_all_rows():
    assert episode_spans({}, 5, "a file") == [(0, 5)]
    assert episode_spans({"episode_ends": np.array([2, 2, 5])}, 5, "a file") == [(0, 2), (2, 2), (2, 5)]
