"""Episodes as a table of files: `episodes.csv` names a video and an .npz of actions for each (`path,actions`).

The .npz holds `action` with a row for each frame, and may hold `state`. Where frames are more or fewer than rows, it
needs `timestamp`: seconds of each row in the video. More columns of the table are ignored. A video that can't be read
is skipped.
"""

import csv
import io
from pathlib import Path

from vjepa.data.episodes.boundaries import without_last_axis
from vjepa.data.episodes.formats.files import NpzArrays, check_present, read_text
from vjepa.data.episodes.frames import VideoFrames, common_fps, rate_of, scan_videos
from vjepa.data.episodes.recordings import (
    ReadOptions,
    Recording,
    action_and_state_keys,
    boundary_arrays,
    store_recordings,
)
from vjepa.data.episodes.store import EpisodeStore

TABLE = "episodes.csv"
TIME_KEYS = ("timestamp", "timestamps")


def detect(root: Path) -> bool:
    return root.suffix == ".csv" if root.is_file() else (root / TABLE).is_file()


def read(root: Path, options: ReadOptions) -> EpisodeStore:
    """The episodes of a folder with such a table, or of the table itself."""
    table = root / TABLE if root.is_dir() else root
    rows = [(table.parent / row["path"], table.parent / row["actions"]) for row in _rows(table)]
    check_present([video for video, _ in rows] + [actions for _, actions in rows], table)
    videos = scan_videos(video for video, _ in rows)
    read = [_recording(videos[video], actions, options) for video, actions in rows if video in videos]
    recordings, rates = zip(*read, strict=True)
    return store_recordings(recordings, options, common_fps(rates), len(rows) - len(recordings))


def _rows(table: Path) -> list[dict[str, str]]:
    if not table.is_file():
        raise ValueError(f"there is no file {table}")
    reader = csv.DictReader(io.StringIO(read_text(table), newline=""))
    columns = reader.fieldnames or []
    if not {"path", "actions"} <= set(columns):
        raise ValueError(f"{table} must have the columns path and actions; it has {', '.join(columns) or 'none'}")
    rows = []
    for row in reader:
        if not (row["path"] and row["actions"]):
            raise ValueError(f"line {reader.line_num} of {table} must give path and actions, not {list(row.values())}")
        rows.append(row)
    if not rows:
        raise ValueError(f"there are no episodes in {table}")
    return rows


def _recording(video: VideoFrames, path: Path, options: ReadOptions) -> tuple[Recording, float]:
    """An episode, and its rows per second."""
    with NpzArrays(path) as arrays:
        actions_key, states_key = action_and_state_keys(list(arrays), options, str(path))
        actions, states = arrays[actions_key], None if states_key is None else arrays[states_key]
        seconds = next((without_last_axis(arrays[name]) for name in TIME_KEYS if name in list(arrays)), None)
        boundaries = boundary_arrays(arrays, (actions_key, states_key))
    fps = video.facts.fps
    if seconds is not None and len(actions) not in (video.num_frames - 1, video.num_frames):
        video = video.at_times(seconds, str(path))
        fps = rate_of(seconds.astype(float)) if len(seconds) > 1 else fps
    return Recording(video.path, video, actions, states, boundaries=boundaries), fps
