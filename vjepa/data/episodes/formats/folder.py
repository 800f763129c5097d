"""Episodes as a table of files: `episodes.csv` names a video and an .npz of actions for each (`path,actions`).

The .npz holds `action` with a row for each frame, and may hold `state`. More columns of the table are ignored.
"""

import csv
from pathlib import Path

import numpy as np

from vjepa.data.episodes.frames import VideoPart, common_rate, scan_videos, video_frames
from vjepa.data.episodes.store import (
    ACTION_KEYS,
    STATE_KEYS,
    Episodes,
    Recording,
    episodes_of_recordings,
    key_of,
    needed_key,
)

TABLE = "episodes.csv"


def read_folder(
    root: Path,
    resize: tuple[int, int] | None = None,
    action_key: str | None = None,
    state_key: str | None = None,
    cache_gigabytes: float = 2.0,
) -> Episodes:
    """The episodes of a folder with such a table, or of the table itself; a video that can't be read is left out."""
    table = root / TABLE if root.is_dir() else root
    rows = _rows_of(table)
    videos = [str(table.parent / row["path"]) for row in rows]
    action_files = [table.parent / row["actions"] for row in rows]
    check_present([Path(video) for video in videos] + action_files, table)
    facts, reasons = scan_videos(videos)
    recordings, parts = [], []
    for video, action_file in zip(videos, action_files, strict=True):
        if video in facts:
            actions, states = _actions_and_states(action_file, action_key, state_key)
            recordings.append(Recording(video, facts[video].num_frames, actions, states))
            parts.append(VideoPart(video, facts[video], 0, facts[video].num_frames))
    source = video_frames(parts, [part.path for part in parts], resize, cache_gigabytes)
    rate = common_rate([part.facts.fps for part in parts])
    return episodes_of_recordings(recordings, source, rate, num_left_out=len(reasons))


def check_present(paths: list[Path], named_by: Path) -> None:
    """Raise ValueError where files that a data set names are not there."""
    absent = [path for path in paths if not path.is_file()]
    if absent:
        raise ValueError(f"{len(absent)} of the files that {named_by} names are not there, the first is {absent[0]}")


def _rows_of(table: Path) -> list[dict[str, str]]:
    if not table.is_file():
        raise ValueError(f"there is no file {table}")
    with table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        if not {"path", "actions"} <= set(columns):
            raise ValueError(f"{table} must have the columns path and actions; it has {', '.join(columns) or 'none'}")
        rows = list(reader)
    if not rows:
        raise ValueError(f"there are no episodes in {table}")
    return rows


def _actions_and_states(
    path: Path, action_key: str | None, state_key: str | None
) -> tuple[np.ndarray, np.ndarray | None]:
    with open_npz(path) as arrays:
        states = key_of(arrays.files, state_key, STATE_KEYS, "states", str(path))
        actions = needed_key(arrays.files, action_key, ACTION_KEYS, "actions", str(path))
        return arrays[actions], None if states is None else arrays[states]


def open_npz(path: Path) -> np.lib.npyio.NpzFile:
    try:
        arrays = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} is no .npz file that can be read: {error}") from None
    if not isinstance(arrays, np.lib.npyio.NpzFile):
        raise ValueError(f"{path} is no .npz file")
    return arrays
