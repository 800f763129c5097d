"""Episodes as a table of files: `episodes.csv` names a video and an .npz of actions for each (`path,actions`).

The .npz holds `action` with a row for each frame, and may hold `state`. More columns of the table are ignored. A video
that can't be read is skipped.
"""

import csv
from pathlib import Path

from vjepa.data.episodes.formats.files import check_present, open_npz
from vjepa.data.episodes.frames import VideoFrames, common_fps, scan_videos
from vjepa.data.episodes.recordings import ReadOptions, Recording, action_and_state_keys, store_recordings
from vjepa.data.episodes.store import EpisodeStore

TABLE = "episodes.csv"


def detect(root: Path) -> bool:
    return root.suffix == ".csv" if root.is_file() else (root / TABLE).is_file()


def read(root: Path, options: ReadOptions) -> EpisodeStore:
    """The episodes of a folder with such a table, or of the table itself."""
    table = root / TABLE if root.is_dir() else root
    rows = [(table.parent / row["path"], table.parent / row["actions"]) for row in _rows(table)]
    check_present([video for video, _ in rows] + [actions for _, actions in rows], table)
    videos = scan_videos(video for video, _ in rows)
    recordings = [_recording(videos[video], actions, options) for video, actions in rows if video in videos]
    return store_recordings(recordings, options, common_fps(videos.values()), len(rows) - len(recordings))


def _rows(table: Path) -> list[dict[str, str]]:
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


def _recording(video: VideoFrames, path: Path, options: ReadOptions) -> Recording:
    with open_npz(path) as arrays:
        actions, states = action_and_state_keys(arrays.files, options, str(path))
        return Recording(video.path, video, arrays[actions], None if states is None else arrays[states])
