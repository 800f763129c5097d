"""Episodes of LeRobot data sets, versions 2 and 3: `meta/info.json`, tables of actions in Parquet, cameras as videos.

Version 2 has a table and a video for each episode, version 3 packs many into each file and says where each is.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vjepa.data.episodes.formats.folder import check_present
from vjepa.data.episodes.frames import VideoPart, scan_videos, video_frames
from vjepa.data.episodes.store import Episodes, Recording, episodes_of_recordings, key_of, needed_key

INFO = Path("meta", "info.json")
ACTION_COLUMNS = ("action", "actions")
STATE_COLUMNS = ("observation.state", "state")


class _Place(NamedTuple):
    """Where an episode is."""

    number: int
    num_frames: int
    table: Path
    video: Path
    first_second: float | None  # within its video, in version 3


def read_lerobot(
    root: Path,
    resize: tuple[int, int] | None = None,
    camera: str | None = None,
    action_key: str | None = None,
    state_key: str | None = None,
    cache_gigabytes: float = 2.0,
) -> Episodes:
    """The episodes of such a folder by one camera, the first if none is named; an unreadable video is left out."""
    info = _read_info(root)
    camera = _camera_of(info, camera, root)
    packed = str(info.get("codebase_version", "v2.1")).lstrip("v").startswith("3")
    places = list(_packed_places(root, info, camera) if packed else _single_places(root, info, camera))
    if not places:
        raise ValueError(f"there are no episodes in {root}")
    check_present([place.table for place in places] + [place.video for place in places], root / INFO)
    facts, _ = scan_videos([str(place.video) for place in places])
    rows = _rows_by_episode(sorted({place.table for place in places}), action_key, state_key)
    recordings, parts = [], []
    for place in places:
        if (of_video := facts.get(str(place.video))) is None:
            continue
        actions, states = rows[place.number]
        first = 0 if place.first_second is None else round(place.first_second * of_video.fps)
        if first + place.num_frames > of_video.num_frames:
            continue  # the file breaks off before the episode's end
        recordings.append(Recording(f"{root} episode {place.number}", place.num_frames, actions, states))
        parts.append(VideoPart(str(place.video), of_video, first, place.num_frames))
    if not parts:
        raise ValueError(f"the videos of {root} are shorter than its episodes")
    source = video_frames(parts, [recording.name for recording in recordings], resize, cache_gigabytes)
    return episodes_of_recordings(recordings, source, float(info["fps"]), len(places) - len(parts))


def _read_info(root: Path) -> dict[str, Any]:
    path = root / INFO
    if not path.is_file():
        raise ValueError(f"{root} is no LeRobot data set: there is no {INFO} in it")
    return json.loads(path.read_text(encoding="utf-8"))


def _camera_of(info: dict[str, Any], camera: str | None, root: Path) -> str:
    cameras = [name for name, feature in info["features"].items() if feature.get("dtype") == "video"]
    if not cameras:
        raise ValueError(f"no frames in {root}: none of its features is a video (images in tables are not read)")
    by_last_word = {name.rsplit(".", 1)[-1]: name for name in reversed(cameras)}
    if camera is not None and camera not in cameras and camera not in by_last_word:
        raise ValueError(f"there is no camera '{camera}' in {root}; there is {', '.join(cameras)}")
    return cameras[0] if camera is None else by_last_word.get(camera, camera)


def _single_places(root: Path, info: dict[str, Any], camera: str) -> Iterator[_Place]:
    lines = (root / "meta" / "episodes.jsonl").read_text(encoding="utf-8").splitlines()
    for line in filter(str.strip, lines):
        facts = json.loads(line)
        number = facts["episode_index"]
        names = {"episode_index": number, "episode_chunk": number // info.get("chunks_size", 1000), "video_key": camera}
        table, video = (root / info[key].format(**names) for key in ("data_path", "video_path"))
        yield _Place(number, facts["length"], table, video, None)


def _packed_places(root: Path, info: dict[str, Any], camera: str) -> Iterator[_Place]:
    columns = ["episode_index", "length"]
    columns += ["data/chunk_index", "data/file_index"]
    columns += [f"videos/{camera}/{name}" for name in ("chunk_index", "file_index", "from_timestamp")]
    for path in sorted((root / "meta" / "episodes").rglob("*.parquet")):
        for row in _table(path, columns).to_pylist():
            number, length, table_chunk, table_file, chunk, file, seconds = (row[column] for column in columns)
            table = info["data_path"].format(chunk_index=table_chunk, file_index=table_file)
            video = info["video_path"].format(video_key=camera, chunk_index=chunk, file_index=file)
            yield _Place(number, length, root / table, root / video, seconds)


def _rows_by_episode(
    tables: list[Path], action_key: str | None, state_key: str | None
) -> dict[int, tuple[np.ndarray, np.ndarray | None]]:
    """Actions and states of each episode, from all tables."""
    rows: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}
    for path in tables:
        names = _columns_of(path)
        actions = needed_key(names, action_key, ACTION_COLUMNS, "actions", str(path))
        states = key_of(names, state_key, STATE_COLUMNS, "states", str(path))
        table = _table(path, ["episode_index", actions, *([] if states is None else [states])])
        numbers = table["episode_index"].to_numpy()
        values = [None if name is None else np.array(table[name].to_pylist()) for name in (actions, states)]
        for number in np.unique(numbers).tolist():
            of_episode = numbers == number
            assert values[0] is not None
            rows[number] = (values[0][of_episode], None if values[1] is None else values[1][of_episode])
    return rows


def _table(path: Path, columns: list[str]) -> Any:
    return _parquet(path).read_table(path, columns=columns, partitioning=None)


def _columns_of(path: Path) -> list[str]:
    return _parquet(path).read_schema(path).names


def _parquet(path: Path) -> Any:
    try:
        from pyarrow import parquet
    except ImportError:
        raise ValueError(f"reading {path} needs pyarrow: pip install 'vjepa[parquet]'") from None
    return parquet
