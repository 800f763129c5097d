"""Episodes of DROID's raw release (arXiv 2403.12945), with actions as V-JEPA 2-AC makes them (2506.09985).

A folder for each episode, however deep: `trajectory.h5` with poses of the robot's hand, a metadata JSON that says which
file is which camera's, and the videos under `recordings/MP4`. States are (x, y, z, three Euler angles, gripper) and
actions their differences from one frame to the next: the way, the Euler angles of the rotation between the two, and the
change of the gripper. The videos are thinned out first (V-JEPA 2-AC: 4 frames per second), so a raw step of this store
is one frame that is left. Rows of the HDF5 file are frames of the video.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from vjepa.data.episodes.formats.hdf5 import import_h5py
from vjepa.data.episodes.frames import VideoPart, common_rate, scan_videos, video_frames
from vjepa.data.episodes.store import Episodes, Recording, episodes_of_recordings

TRAJECTORY = "trajectory.h5"
RATE = 4.0  # frames per second
SPARE_ROWS = 2  # by which video and poses may differ; what only one has is left off


def read_droid(
    root: Path,
    resize: tuple[int, int] | None = None,
    camera: str | None = None,
    frames_per_second: float | None = None,
    cache_gigabytes: float = 2.0,
) -> Episodes:
    """The episodes below a folder by one camera: left (if None), right, ext1, ext2 or wrist.

    One without that camera's video, or whose files can't be read or don't fit, is left out.
    """
    h5py = import_h5py(root)
    folders = sorted(path.parent for path in root.rglob(TRAJECTORY))
    if not folders:
        raise ValueError(f"there are no episodes of DROID in {root}: no {TRAJECTORY} in it")
    videos = {folder: video for folder in folders if (video := _video_of(folder, camera or "left")) is not None}
    if not videos:
        raise ValueError(f"none of {len(folders)} episodes in {root} has a video of the camera '{camera or 'left'}'")
    facts, _ = scan_videos([str(video) for video in videos.values()])
    wanted = frames_per_second or RATE
    recordings, parts = [], []
    for folder, video in videos.items():
        if (of_video := facts.get(str(video))) is None:
            continue
        try:
            with h5py.File(folder / TRAJECTORY, "r") as file:
                states, extrinsics = _poses(file, video.stem)
        except (OSError, KeyError):
            continue
        if abs(len(states) - of_video.num_frames) > SPARE_ROWS:
            continue
        every = max(1, math.ceil(of_video.fps / wanted - 1e-6))
        states = states[: of_video.num_frames : every]
        recordings.append(Recording(str(folder), len(states), pose_differences(states), states, extrinsics))
        parts.append(VideoPart(str(video), of_video, 0, len(states), every))
    if not parts:
        raise ValueError(f"the files of none of {len(folders)} episodes in {root} can be read and fit each other")
    source = video_frames(parts, [recording.name for recording in recordings], resize, cache_gigabytes)
    rate = common_rate([part.facts.fps / part.every for part in parts]) or wanted  # none is above it
    return episodes_of_recordings(recordings, source, rate, len(folders) - len(parts))


def _video_of(folder: Path, camera: str) -> Path | None:
    for path in sorted(folder.glob("*.json")):
        try:
            named = json.loads(path.read_text(encoding="utf-8")).get(f"{camera}_mp4_path")
        except (ValueError, AttributeError):
            continue
        if named:
            video = folder / "recordings" / "MP4" / Path(named).name
            return video if video.is_file() else None
    return None


def _poses(file: Any, serial: str) -> tuple[np.ndarray, np.ndarray]:  # (T, 7), (6,)
    observation = file["observation"]
    pose = observation["robot_state/cartesian_position"][()]
    gripper = observation["robot_state/gripper_position"][()].reshape(len(pose), 1)
    extrinsics = observation["camera_extrinsics"].get(f"{serial}_left")
    # A camera that stands still has the same in every row.
    of_camera = np.zeros(6) if extrinsics is None else extrinsics[0]
    return np.concatenate((pose, gripper), axis=1).astype(np.float32), of_camera


def pose_differences(
    states: np.ndarray,  # (T, 7): x, y, z, Euler angles about the fixed x, y and z axes in radians, gripper
) -> np.ndarray:  # (T - 1, 7) float32
    """What leads from each state to the next: way, Euler angles of the rotation between them, change of the gripper."""
    states = states.astype(float)
    rotations = rotations_of(states[:, 3:6])
    angles = angles_of(rotations[1:] @ rotations[:-1].swapaxes(1, 2))
    changes = np.diff(states, axis=0)
    return np.concatenate((changes[:, :3], angles, changes[:, 6:]), axis=1).astype(np.float32)


def rotations_of(
    angles: np.ndarray,  # (T, 3) radians about the fixed x, y and z axes, in this order
) -> np.ndarray:  # (T, 3, 3)
    """R_z R_y R_x."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles).T, np.sin(angles).T
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def angles_of(
    rotations: np.ndarray,  # (T, 3, 3)
) -> np.ndarray:  # (T, 3) radians, the inverse of `rotations_of`
    x = np.arctan2(rotations[:, 2, 1], rotations[:, 2, 2])
    y = np.arcsin(np.clip(-rotations[:, 2, 0], -1, 1))
    z = np.arctan2(rotations[:, 1, 0], rotations[:, 0, 0])
    return np.stack((x, y, z), axis=1)
