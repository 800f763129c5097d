"""Episodes of LeRobot datasets, versions 2 and 3: `meta/info.json`, tables of actions in Parquet, cameras as videos.

Version 2 has a table and a video for each episode, version 3 packs many into each file, with an index. A row's frame is
the one at its `timestamp`, whatever the video's rate. An episode whose video can't be read is skipped.
"""

import bisect
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vjepa.data.episodes.boundaries import without_last_axis
from vjepa.data.episodes.formats.files import (
    check_present,
    entry,
    files_below,
    json_object,
    parquet_columns,
    read_json,
    read_parquet,
    read_text,
    stacked_rows,
)
from vjepa.data.episodes.frames import rate_of, scan_videos
from vjepa.data.episodes.recordings import ReadOptions, Recording, action_and_state_keys, store_recordings
from vjepa.data.episodes.store import EpisodeStore

INFO = Path("meta", "info.json")
STATE_COLUMNS = ("observation.state", "state")


class _Location(NamedTuple):
    """Where an episode is stored."""

    episode: int
    num_rows: int
    table: Path
    video: Path
    first_second: float = 0.0  # within its video


class _Rows(NamedTuple):
    """Of an episode; times in seconds from its start."""

    actions: np.ndarray
    states: np.ndarray | None = None
    seconds: np.ndarray | None = None


def detect(root: Path) -> bool:
    return (root / INFO).is_file()


def read(root: Path, options: ReadOptions) -> EpisodeStore:
    """The episodes of such a folder by one camera, the first if none is named."""
    if not detect(root):
        raise ValueError(f"{root} is no LeRobot data set: there is no {INFO} in it")
    info = read_json(root / INFO)
    fps = float(entry(info, "fps", (int, float), str(root / INFO)))
    if not 0 < fps < math.inf:
        raise ValueError(f"fps of {root / INFO} ({fps}) must be rows per second, above 0")
    camera = _find_camera(info, options.camera, root)
    is_packed = str(info.get("codebase_version", "v2.1")).lstrip("v").startswith("3")
    locations = list(_packed_locations(root, info, camera) if is_packed else _single_locations(root, info, camera))
    if not locations:
        raise ValueError(f"{root / 'meta' / 'episodes'}{'' if is_packed else '.jsonl'} lists no episodes")
    check_present([each.table for each in locations] + [each.video for each in locations], root / INFO)
    videos = scan_videos(each.video for each in locations)
    rows = _rows_by_episode(sorted({each.table for each in locations}), options)
    starts: dict[Path, list[float]] = {}  # of the episodes in each video
    for location in locations:
        bisect.insort(starts.setdefault(location.video, []), location.first_second)
    recordings, rates = [], []
    for number, num_rows, table, path, first in locations:
        name = f"{root} episode {number}"
        of_episode = rows.get(number, _Rows(np.empty(0)))
        if len(of_episode.actions) != num_rows:
            raise ValueError(
                f"{name} has {len(of_episode.actions)} rows in {table}, and its index says {num_rows}; mend one of them"
            )
        if (video := videos.get(path)) is None:
            continue
        seconds = np.arange(num_rows) / fps if of_episode.seconds is None else of_episode.seconds
        following = bisect.bisect_right(starts[path], first)
        stop = starts[path][following] if following < len(starts[path]) else math.inf
        frames = video.at_times(first + seconds, name, first, stop) if num_rows else video.part(slice(0, 0))
        if num_rows > 1:
            rates.append(rate_of(seconds))
        recordings.append(Recording(name, frames, of_episode.actions, of_episode.states))
    # What the rows' times say is true; the index's number is exact where they agree.
    measured = float(np.median(rates)) if rates else fps
    rate = fps if abs(measured / fps - 1) < 0.01 else measured
    return store_recordings(recordings, options, rate, len(locations) - len(recordings))


def _find_camera(info: dict[str, Any], camera: str | None, root: Path) -> str:
    features = entry(info, "features", dict, str(root / INFO))
    cameras = [name for name, each in features.items() if isinstance(each, dict) and each.get("dtype") == "video"]
    if not cameras:
        raise ValueError(f"no frames in {root}: none of its features is a video (images in tables are not read)")
    by_last_word = {name.rsplit(".", 1)[-1]: name for name in reversed(cameras)}
    if camera is not None and camera not in cameras and camera not in by_last_word:
        raise ValueError(f"there is no camera '{camera}' in {root}; there is {', '.join(cameras)}")
    return cameras[0] if camera is None else by_last_word.get(camera, camera)


def _single_locations(root: Path, info: dict[str, Any], camera: str) -> Iterator[_Location]:
    path = root / "meta" / "episodes.jsonl"
    chunk_size = entry({"chunks_size": 1000, **info}, "chunks_size", int, str(root / INFO))
    for line, text in enumerate(read_text(path).splitlines(), start=1):
        if not text.strip():
            continue
        where = f"{path} line {line}"
        facts = json_object(text, where)
        number, length = (entry(facts, key, int, where) for key in ("episode_index", "length"))
        names = {"episode_index": number, "episode_chunk": number // max(1, chunk_size), "video_key": camera}
        table, video = (_path(root, info, key, names) for key in ("data_path", "video_path"))
        yield _Location(number, length, table, video)


def _packed_locations(root: Path, info: dict[str, Any], camera: str) -> Iterator[_Location]:
    columns = ["episode_index", "length", "data/chunk_index", "data/file_index"]
    columns += [f"videos/{camera}/{name}" for name in ("chunk_index", "file_index", "from_timestamp")]
    for path in files_below(root / "meta" / "episodes", "**/*.parquet"):
        for row in read_parquet(path, columns).to_pylist():
            number, length, table_chunk, table_file, chunk, file = (
                entry(row, column, int, str(path)) for column in columns[:-1]
            )
            seconds = entry(row, columns[-1], (int, float), str(path))
            table = _path(root, info, "data_path", {"chunk_index": table_chunk, "file_index": table_file})
            video = _path(root, info, "video_path", {"video_key": camera, "chunk_index": chunk, "file_index": file})
            yield _Location(number, length, table, video, seconds)


def _path(root: Path, info: dict[str, Any], key: str, names: dict[str, Any]) -> Path:
    pattern = entry(info, key, str, str(root / INFO))
    try:
        return root / pattern.format(**names)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{key} of {root / INFO} ('{pattern}') may name {', '.join(names)} in braces; {error!r}"
        ) from None


def _rows_by_episode(tables: list[Path], options: ReadOptions) -> dict[int, _Rows]:
    """Rows of each episode, from all tables."""
    rows: dict[int, _Rows] = {}
    for path in tables:
        names = parquet_columns(path)
        actions_key, states_key = action_and_state_keys(names, options, str(path), STATE_COLUMNS)
        keys = (actions_key, states_key, "timestamp" if "timestamp" in names else None)
        table = read_parquet(path, ["episode_index", *filter(None, keys)])
        numbers = table["episode_index"].to_numpy()
        arrays = {key: stacked_rows(table[key].to_pylist(), f"{key} of {path}") for key in keys if key is not None}
        in_order = np.argsort(numbers, kind="stable")
        episodes, firsts = np.unique(numbers[in_order], return_index=True)
        for number, ids in zip(episodes.tolist(), np.split(in_order, firsts[1:]), strict=True):
            of_episode = {key: array[ids] for key, array in arrays.items()}
            seconds = without_last_axis(of_episode["timestamp"]) if "timestamp" in of_episode else None
            rows[number] = _Rows(of_episode[actions_key], of_episode.get(states_key or ""), seconds)
    return rows
