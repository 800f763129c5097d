"""A row of a table has the frame that was shown at its time, whatever the rates of rows and video."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.data.episodes import tiny_episodes as tiny
from tests.data.episodes.tiny_episodes import counter_frames, counter_rows, write_mp4
from vjepa.data.episodes.data_module import EpisodeDataModule
from vjepa.data.episodes.formats.detection import open_episodes

TOP = "videos/observation.images.top/chunk-000/file-000.mp4"


def shown(store, episode: int) -> list[int]:
    """Numbers of the frames that an episode has, as counted in its video."""
    frames = store.frames(episode, np.arange(int(store.lengths[episode]) + 1))
    return np.round((frames[:, :, :20].mean((1, 2, 3)) - 30) / 4).astype(int).tolist()


def lerobot(
    root: Path,
    version: int,
    all_times: Sequence[Sequence[float | list[float]]],  # of the rows of each episode, in seconds
    num_frames: Sequence[int],  # of each episode in the video
    rate: int,
    frame_times: Sequence[float] | None = None,  # if they are not even
    **changes,
) -> Path:
    """A dataset with one video for each episode (2), or all in one (3), whose frames count from 0 in each file."""
    pytest.importorskip("pyarrow")
    writer = tiny.write_lerobot_2 if version == 2 else tiny.write_lerobot_3
    writer(root, [len(times) for times in all_times])
    if version == 2:
        for episode, count in enumerate(num_frames):
            path = next(root.rglob(f"episode_{episode:06d}.mp4"))
            write_mp4(path, counter_frames(np.arange(count), 0), rate, frame_times)
            tiny.set_column(next(root.rglob(f"episode_{episode:06d}.parquet")), "timestamp", all_times[episode])
    else:
        write_mp4(root / TOP, counter_frames(np.arange(sum(num_frames)), 0), rate, frame_times)
        starts = (np.cumsum(num_frames) - num_frames) / rate
        index = next((root / "meta/episodes").rglob("*.parquet"))
        tiny.set_column(index, "videos/observation.images.top/from_timestamp", starts.tolist())
        tiny.set_column(next((root / "data").rglob("*.parquet")), "timestamp", np.concatenate(all_times).tolist())
    return root


ROWS = [(np.arange(10) / 10).tolist(), (np.arange(7) / 10).tolist()]


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(("rate", "step"), [(10, 1), (20, 2), (30, 3)])
def test_a_faster_video_is_looked_up_by_time(tmp_path, version, rate, step):
    root = lerobot(tmp_path, version, ROWS, [10 * step, 7 * step] if rate < 30 else [28, 19], rate)
    store = open_episodes(root)
    assert store.fps == 10 and store.lengths.tolist() == [9, 6]
    first = 0 if version == 2 else 10 * step if rate < 30 else 28
    assert shown(store, 0) == [step * row for row in range(10)]
    assert shown(store, 1) == [first + step * row for row in range(7)]
    # Windows, and a reading without a cache, too.
    data = EpisodeDataModule(
        str(root), frame_step=4, num_steps=2, global_batch_size=2, cache_gigabytes=0, val_fraction=0
    )
    data.setup("fit")
    for batch in data.train_dataloader():
        value = batch.frames[:, :, 0, 0, 0].float()
        found = ((value - 30) / 4).round().int()
        offset = np.where(batch.episodes == 0, 0, first)
        rows = batch.starts[:, None].numpy() + 4 * np.arange(3)
        np.testing.assert_array_equal(found, offset[:, None] + step * rows)


@pytest.mark.parametrize("version", [2, 3])
def test_a_slower_video_repeats_its_frames(tmp_path, version):
    root = lerobot(tmp_path, version, ROWS, [5, 4], 5)
    store = open_episodes(root)
    first = 0 if version == 2 else 5
    assert shown(store, 0) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]  # the earlier of two that are as near
    assert shown(store, 1) == [first + number for number in (0, 0, 1, 1, 2, 2, 3)]


def test_rows_without_times_are_at_the_rate_of_the_index(tmp_path):
    pytest.importorskip("pyarrow")
    root = tiny.write_lerobot_2(tmp_path, [12])
    write_mp4(next(root.rglob("*.mp4")), counter_frames(np.arange(36), 0), 30)
    assert shown(open_episodes(root), 0) == list(range(0, 36, 3))


def test_rows_that_start_late_or_skip_have_their_own_frames(tmp_path):
    root = lerobot(tmp_path, 2, [[0.5, 0.6, 0.9, 1.0]], [36], 30)
    assert shown(open_episodes(root), 0) == [15, 18, 27, 30]


def test_times_may_be_lists_of_one(tmp_path):
    root = lerobot(tmp_path, 2, [[[0.0], [0.2], [0.4]]], [10], 10)
    store = open_episodes(root)
    assert shown(store, 0) == [0, 2, 4] and store.fps == pytest.approx(5)


def test_frames_of_a_variable_rate_are_found_by_their_own_times(tmp_path):
    times = [0, 0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.8, 1.2]
    root = lerobot(tmp_path, 2, [[0, 0.2, 0.4, 0.6, 0.7, 1.2]], [9], 10, times)
    assert shown(open_episodes(root), 0) == [0, 2, 6, 6, 7, 8]


def test_the_rate_of_a_dataset_is_that_of_its_rows(tmp_path):
    root = lerobot(tmp_path, 2, ROWS, [28, 19], 30)
    info = root / "meta/info.json"
    info.write_text(info.read_text().replace('"fps": 10', '"fps": 30'))
    store = open_episodes(root)
    assert store.fps == pytest.approx(10)
    assert shown(store, 0) == list(range(0, 30, 3))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("num_frames", [[10, 7], [28, 16]])
def test_a_video_that_ends_before_its_rows_is_refused(tmp_path, version, num_frames):
    root = lerobot(tmp_path, version, ROWS, num_frames, 30)
    with pytest.raises(ValueError, match=r"rows of .* episode [01] are of .* to .* s, and .*\.mp4 has frames of .* to"):
        open_episodes(root)


def test_half_a_frame_may_lack_at_the_end(tmp_path):
    root = lerobot(tmp_path, 2, [[0, 0.1, 0.21]], [7], 30)  # the last frame is of 0.2 s
    assert shown(open_episodes(root), 0) == [0, 3, 6]
    root = lerobot(tmp_path / "more", 2, [[0, 0.1, 0.22]], [7], 30)
    with pytest.raises(ValueError, match="mend timestamps or rate"):
        open_episodes(root)


@pytest.mark.parametrize("times", [[0, 0.1, 0.1], [0, 0.2, 0.1], [0, float("nan"), 0.2], [47.3, 47.4, 47.5]])
def test_times_that_can_not_be_are_refused(tmp_path, times):
    root = lerobot(tmp_path, 2, [times], [9], 30)
    with pytest.raises(ValueError, match=r"episode 0 .*(must be seconds that increase|and .*mp4 has frames of)"):
        open_episodes(root)


def test_rows_and_index_must_agree_on_their_number(tmp_path):
    root = lerobot(tmp_path, 2, ROWS, [10, 7], 10)
    index = root / "meta/episodes.jsonl"
    index.write_text(index.read_text().replace('"length": 10', '"length": 9'))
    with pytest.raises(ValueError, match=r"episode 0 has 10 rows in .*\.parquet, and its index says 9"):
        open_episodes(root)


def test_a_table_of_videos_with_times_is_looked_up_by_them(tmp_path):
    (tmp_path / "episodes.csv").write_text("path,actions\na.mp4,a.npz\n")
    write_mp4(tmp_path / "a.mp4", counter_frames(np.arange(34), 0), 30)
    rows = counter_rows(np.arange(12), 0)
    np.savez(tmp_path / "a.npz", action=rows)
    with pytest.raises(ValueError, match="12 rows of actions for 34 frames"):
        open_episodes(tmp_path)
    np.savez(tmp_path / "a.npz", action=rows, timestamp=np.arange(12, dtype=np.float32) / 10)
    store = open_episodes(tmp_path)
    assert shown(store, 0) == list(range(0, 36, 3)) and store.fps == pytest.approx(10)
    np.savez(tmp_path / "a.npz", action=rows, timestamp=np.arange(12) * 100)  # milliseconds
    with pytest.raises(ValueError, match=r"rows of .*a\.npz are of 0.000 to 1100.000 s, and .*a\.mp4 has frames of"):
        open_episodes(tmp_path)
