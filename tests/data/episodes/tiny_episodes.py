"""A world that counts: frames, actions and states all tell the time and the episode, so nothing can be off by one.

The left half of a frame is as bright as the time is late, the right half as the episode's number is high; a video codec
changes neither by as much as one count. The action at time t is (t, episode), and so is the state.
"""

import csv
import json
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from vjepa.data.episodes.batch import EpisodeBatch
from vjepa.data.episodes.collection import CollectionWriter
from vjepa.planning.limits import ActionLimit

LENGTHS = (20, 14, 9, 17)  # frames of the episodes
SIZE = (32, 48)  # height, width


def counter_frames(
    times: np.ndarray,  # (n,)
    episode: int,
    size: tuple[int, int] = SIZE,
) -> np.ndarray:  # (n, H, W, 3) uint8
    frames = np.empty((len(times), *size, 3), np.uint8)
    frames[:, :, : size[1] // 2] = (30 + 4 * times)[:, None, None, None]
    frames[:, :, size[1] // 2 :] = 30 + 4 * episode
    return frames


def counter_rows(times: np.ndarray, episode: int) -> np.ndarray:  # (n, 2) float32
    return np.stack((times, np.full(len(times), episode)), axis=1).astype(np.float32)


def assert_counts(batch: EpisodeBatch, frame_step: int) -> None:
    """Each frame shows the time and episode that it should, and each action leads on from the frame before it."""
    num_frames = batch.frames.shape[1]
    times = batch.starts[:, None].numpy() + frame_step * np.arange(num_frames)
    episodes = batch.episodes.numpy()
    width = batch.frames.shape[-1]
    values = batch.frames.numpy().astype(float)
    left, right = values[..., : width // 2 - 1].mean((-1, -2, -3)), values[..., width // 2 + 1 :].mean((-1, -2, -3))
    np.testing.assert_array_equal(np.round((left - 30) / 4), times)
    np.testing.assert_array_equal(np.round((right - 30) / 4), np.broadcast_to(episodes[:, None], times.shape))
    actions = batch.actions.numpy().reshape(len(times), num_frames - 1, frame_step, 2)
    np.testing.assert_array_equal(actions[..., 0], times[:, :-1, None] + np.arange(frame_step))
    np.testing.assert_array_equal(actions[..., 1], np.broadcast_to(episodes[:, None, None], actions.shape[:-1]))
    if batch.states.shape[2]:
        np.testing.assert_array_equal(batch.states[..., 0].numpy(), times)
        np.testing.assert_array_equal(batch.states[..., 1].numpy(), np.broadcast_to(episodes[:, None], times.shape))


def write_mp4(path: Path, frames: np.ndarray, rate: int = 10, times: Sequence[float] | None = None) -> None:
    """An mp4 at an even rate, or with the frames' times in seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "bf": "0"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, 1000 if times is not None else rate)
        for number, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts = number if times is None else round(1000 * times[number])
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_table_of_videos(root: Path, lengths: Sequence[int] = LENGTHS, sizes: Sequence[tuple[int, int]] = ()) -> Path:
    """A table of videos and actions."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "episodes.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "actions"))
        for episode, length in enumerate(lengths):
            times = np.arange(length)
            size = sizes[episode] if sizes else SIZE
            write_mp4(root / f"clips/{episode}.mp4", counter_frames(times, episode, size))
            rows = counter_rows(times, episode)
            np.savez(root / f"{episode}.npz", action=rows, state=rows)
            table.writerow((f"clips/{episode}.mp4", f"{episode}.npz"))
    return root


def write_npz(root: Path, lengths: Sequence[int] = LENGTHS) -> Path:
    """One file per episode."""
    root.mkdir(parents=True, exist_ok=True)
    for episode, length in enumerate(lengths):
        times = np.arange(length)
        rows = counter_rows(times, episode)
        np.savez(root / f"{episode}.npz", images=counter_frames(times, episode), action=rows, state=rows)
    return root


def write_robomimic(root: Path, lengths: Sequence[int] = LENGTHS) -> Path:
    """A group for each episode, with a second camera and next observations to be confused by."""
    import h5py

    root.mkdir(parents=True, exist_ok=True)
    with h5py.File(root / "demos.hdf5", "w") as file:
        for episode, length in enumerate(lengths):
            times = np.arange(length)
            group = file.create_group(f"data/demo_{episode}")
            group["actions"] = counter_rows(times, episode)
            group["states"] = counter_rows(times, episode)
            group["obs/agentview_image"] = counter_frames(times, episode)
            group["obs/wrist_image"] = counter_frames(times, episode)[:, :8, :8]
            group["next_obs/agentview_image"] = counter_frames(times + 1, episode)
    return root / "demos.hdf5"


def write_flat_hdf5(root: Path, lengths: Sequence[int] = LENGTHS) -> Path:
    """All episodes one after another; no action after an episode's last frame is known."""
    import h5py

    root.mkdir(parents=True, exist_ok=True)
    all_times = [np.arange(length) for length in lengths]
    rows = np.concatenate([counter_rows(times, episode) for episode, times in enumerate(all_times)])
    actions = rows.copy()
    actions[np.cumsum(lengths) - 1] = np.nan
    with h5py.File(root / "world.h5", "w") as file:
        file["pixels"] = np.concatenate([counter_frames(times, episode) for episode, times in enumerate(all_times)])
        file["action"], file["proprio"] = actions, rows
        file["ep_len"], file["ep_offset"] = np.array(lengths), np.cumsum(lengths) - lengths
    return root


def write_lerobot_2(root: Path, lengths: Sequence[int] = LENGTHS) -> Path:
    info = {
        "codebase_version": "v2.1",
        "fps": 10,
        "chunks_size": 3,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    }
    _write_info(root, info)
    lines = []
    for episode, length in enumerate(lengths):
        chunk = f"chunk-{episode // 3:03d}"
        times = np.arange(length)
        _write_rows(root / f"data/{chunk}/episode_{episode:06d}.parquet", [times], [episode])
        video = root / f"videos/{chunk}/observation.images.top/episode_{episode:06d}.mp4"
        write_mp4(video, counter_frames(times, episode))
        lines.append(json.dumps({"episode_index": episode, "tasks": ["count"], "length": length}))
    (root / "meta/episodes.jsonl").write_text("\n".join(lines) + "\n")
    return root


def write_lerobot_3(root: Path, lengths: Sequence[int] = LENGTHS) -> Path:
    """Two episodes in each file."""
    import pyarrow
    from pyarrow import parquet

    info = {
        "codebase_version": "v3.0",
        "fps": 10,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }
    _write_info(root, info)
    camera = "videos/observation.images.top"
    rows = []
    for file in range(0, len(lengths), 2):
        episodes = list(range(file, min(file + 2, len(lengths))))
        all_times = [np.arange(lengths[episode]) for episode in episodes]
        _write_rows(root / f"data/chunk-000/file-{file // 2:03d}.parquet", all_times, episodes)
        frames = [counter_frames(times, episode) for times, episode in zip(all_times, episodes, strict=True)]
        write_mp4(root / f"{camera}/chunk-000/file-{file // 2:03d}.mp4", np.concatenate(frames))
        for number, episode in enumerate(episodes):
            rows.append(
                {
                    "episode_index": episode,
                    "length": lengths[episode],
                    "data/chunk_index": 0,
                    "data/file_index": file // 2,
                    f"{camera}/chunk_index": 0,
                    f"{camera}/file_index": file // 2,
                    f"{camera}/from_timestamp": sum(map(len, all_times[:number])) / 10,
                }
            )
    path = root / "meta/episodes/chunk-000/file-000.parquet"
    path.parent.mkdir(parents=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return root


def _write_info(root: Path, info: dict) -> None:
    features = {
        "action": {"dtype": "float32", "shape": [2]},
        "observation.images.top": {"dtype": "video", "shape": [*SIZE, 3]},
    }
    (root / "meta").mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps({**info, "features": features}))


def _write_rows(path: Path, all_times: list[np.ndarray], episodes: list[int]) -> None:
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.concatenate([counter_rows(times, episode) for times, episode in zip(all_times, episodes, strict=True)])
    table = {
        "action": rows.tolist(),
        "observation.state": rows.tolist(),
        "episode_index": np.repeat(episodes, list(map(len, all_times))),
    }
    parquet.write_table(pyarrow.table(table), path)


def write_episodes(
    folder: Path, episodes: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray | None]], **settings: Any
) -> None:
    """A collection of (frames, actions, states), with settings of `CollectionWriter`."""
    with CollectionWriter(folder, **settings) as writer:
        for episode in episodes:
            writer.add(*episode)


def write_collection(root: Path, lengths: Sequence[int] = LENGTHS, frame_interval: int = 1) -> Path:
    """`lengths` in frames, were all of them kept."""
    episodes = []
    for episode, length in enumerate(lengths):
        kept = np.arange(0, length, frame_interval)
        actions = counter_rows(np.arange(length - 1), episode)
        episodes.append((counter_frames(kept, episode), actions, counter_rows(kept, episode)))
    limit = ActionLimit(2.0, "norm")
    write_episodes(
        root, episodes, frame_interval=frame_interval, world={"name": "counter"}, action_limit=limit, unit="s"
    )
    return root


def droid_poses(
    times: np.ndarray,  # (n,)
) -> np.ndarray:  # (n, 7): a hand that goes and turns about all axes
    rates = np.array([0.01, -0.02, 0.005, 0.11, 0.03, -0.07, 0.02])
    return np.array([0.3, 0.1, 0.4, 3.0, -0.2, 0.5, 0.0]) + times[:, None] * rates


def write_droid(root: Path, lengths: Sequence[int] = LENGTHS, rate: int = 15) -> Path:
    import h5py

    for episode, length in enumerate(lengths):
        folder = root / "LAB" / "success" / "2023-05-15" / f"Mon_May_15_00:51:{episode:02d}_2023"
        times = np.arange(length)
        write_mp4(folder / "recordings/MP4/24400334.mp4", counter_frames(times, episode), rate)
        named = f"success/2023-05-15/{folder.name}/recordings/MP4/24400334.mp4"
        (folder / f"metadata_LAB+{episode}.json").write_text(json.dumps({"left_mp4_path": named, "uuid": str(episode)}))
        poses = droid_poses(times)
        with h5py.File(folder / "trajectory.h5", "w") as file:
            file["observation/robot_state/cartesian_position"] = poses[:, :6]
            file["observation/robot_state/gripper_position"] = poses[:, 6]
            file["observation/camera_extrinsics/24400334_left"] = np.tile(np.arange(6.0) + episode, (length, 1))
    return root


def set_column(path: Path, name: str, values: Sequence[Any]) -> None:
    """Add or replace a column of a Parquet table."""
    import pyarrow
    from pyarrow import parquet

    table = parquet.read_table(path, partitioning=None)
    kept = {other: table[other] for other in table.column_names if other != name}
    parquet.write_table(pyarrow.table({**kept, name: list(values)}), path)
