"""Episodes of LeRobot datasets, versions 2 and 3: `meta/info.json`, tables of actions in Parquet, cameras as videos.

Version 2 has a table and a video for each episode, version 3 packs many into each file, with an index. An episode
whose video can't be read is skipped.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vjepa.data.episodes.formats.files import check_present, import_parquet
from vjepa.data.episodes.frames import scan_videos
from vjepa.data.episodes.recordings import ReadOptions, Recording, action_and_state_keys, store_recordings
from vjepa.data.episodes.store import EpisodeStore

INFO = Path("meta", "info.json")
STATE_COLUMNS = ("observation.state", "state")


class _Location(NamedTuple):
    """Where an episode is stored."""

    episode: int
    num_frames: int
    table: Path
    video: Path
    first_second: float = 0.0  # within its video


def detect(root: Path) -> bool:
    return (root / INFO).is_file()


def read(root: Path, options: ReadOptions) -> EpisodeStore:
    """The episodes of such a folder by one camera, the first if none is named."""
    info = _read_info(root)
    camera = _find_camera(info, options.camera, root)
    is_packed = str(info.get("codebase_version", "v2.1")).lstrip("v").startswith("3")
    locations = list(_packed_locations(root, info, camera) if is_packed else _single_locations(root, info, camera))
    if not locations:
        raise ValueError(f"there are no episodes in {root}")
    check_present([each.table for each in locations] + [each.video for each in locations], root / INFO)
    videos = scan_videos(each.video for each in locations)
    rows = _rows_by_episode(sorted({each.table for each in locations}), options)
    recordings = []
    for episode, num_frames, _, path, first_second in locations:
        if (video := videos.get(path)) is None:
            continue
        first = round(first_second * video.fps)
        if first + num_frames <= video.num_frames:  # else the file breaks off before the episode's end
            frames = replace(video, first=first, num_frames=num_frames)
            recordings.append(Recording(f"{root} episode {episode}", frames, *rows[episode]))
    if not recordings:
        raise ValueError(f"no video in {root} can be read to the end of its episode")
    return store_recordings(recordings, options, float(info["fps"]), len(locations) - len(recordings))


def _read_info(root: Path) -> dict[str, Any]:
    path = root / INFO
    if not path.is_file():
        raise ValueError(f"{root} is no LeRobot data set: there is no {INFO} in it")
    info: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return info


def _find_camera(info: dict[str, Any], camera: str | None, root: Path) -> str:
    cameras: list[str] = [name for name, feature in info["features"].items() if feature.get("dtype") == "video"]
    if not cameras:
        raise ValueError(f"no frames in {root}: none of its features is a video (images in tables are not read)")
    by_last_word = {name.rsplit(".", 1)[-1]: name for name in reversed(cameras)}
    if camera is not None and camera not in cameras and camera not in by_last_word:
        raise ValueError(f"there is no camera '{camera}' in {root}; there is {', '.join(cameras)}")
    return cameras[0] if camera is None else by_last_word.get(camera, camera)


def _single_locations(root: Path, info: dict[str, Any], camera: str) -> Iterator[_Location]:
    lines = (root / "meta" / "episodes.jsonl").read_text(encoding="utf-8").splitlines()
    for facts in map(json.loads, filter(str.strip, lines)):
        number = facts["episode_index"]
        names = {"episode_index": number, "episode_chunk": number // info.get("chunks_size", 1000), "video_key": camera}
        table, video = (root / info[key].format(**names) for key in ("data_path", "video_path"))
        yield _Location(number, facts["length"], table, video)


def _packed_locations(root: Path, info: dict[str, Any], camera: str) -> Iterator[_Location]:
    columns = ["episode_index", "length", "data/chunk_index", "data/file_index"]
    columns += [f"videos/{camera}/{name}" for name in ("chunk_index", "file_index", "from_timestamp")]
    for path in sorted((root / "meta" / "episodes").rglob("*.parquet")):
        for row in _read_table(path, columns).to_pylist():
            number, length, table_chunk, table_file, chunk, file, seconds = (row[column] for column in columns)
            table = info["data_path"].format(chunk_index=table_chunk, file_index=table_file)
            video = info["video_path"].format(video_key=camera, chunk_index=chunk, file_index=file)
            yield _Location(number, length, root / table, root / video, seconds)


def _rows_by_episode(tables: list[Path], options: ReadOptions) -> dict[int, tuple[np.ndarray, np.ndarray | None]]:
    """Actions and states of each episode, from all tables."""
    rows: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}
    for path in tables:
        names = import_parquet(path).read_schema(path).names
        actions_key, states_key = action_and_state_keys(names, options, str(path), STATE_COLUMNS)
        table = _read_table(path, ["episode_index", *filter(None, (actions_key, states_key))])
        numbers = table["episode_index"].to_numpy()
        actions = np.array(table[actions_key].to_pylist())
        states = None if states_key is None else np.array(table[states_key].to_pylist())
        for number in np.unique(numbers).tolist():
            is_row = numbers == number
            rows[number] = actions[is_row], None if states is None else states[is_row]
    return rows


def _read_table(path: Path, columns: list[str]) -> Any:
    return import_parquet(path).read_table(path, columns=columns, partitioning=None)
