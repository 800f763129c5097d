"""Episodes of DROID's raw release (arXiv 2403.12945), with actions as V-JEPA 2-AC makes them (2506.09985).

A folder for each episode, at any depth: `trajectory.h5` with poses of the robot's hand, a metadata JSON that names each
camera's file, and the videos under `recordings/MP4`. Rows of the HDF5 file are frames of the video. States are poses
(x, y, z, three Euler angles, gripper) and actions their differences from one frame to the next. The videos are
subsampled first (V-JEPA 2-AC: 4 frames per second): a raw step is one of the remaining frames.

An episode without that camera's video, or whose files can't be read or don't fit, is skipped.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32

from vjepa.data.episodes.formats.files import files_below, import_h5py, read_json
from vjepa.data.episodes.frames import common_fps, scan_videos
from vjepa.data.episodes.recordings import ReadOptions, Recording, store_recordings
from vjepa.data.episodes.store import EpisodeStore
from vjepa.models.dynamics.pose import pose_differences

TRAJECTORY = "trajectory.h5"
FRAMES_PER_SECOND = 4.0
MAX_LENGTH_DIFFERENCE = 2  # rows by which video and poses may differ; what only one has is dropped


def detect(root: Path) -> bool:
    return next(root.rglob(TRAJECTORY), None) is not None


def read(root: Path, options: ReadOptions) -> EpisodeStore:
    """The episodes below a folder by one camera: left (if None), right, ext1, ext2 or wrist."""
    h5py, camera = import_h5py(root), options.camera or "left"
    folders = sorted(path.parent for path in files_below(root, f"**/{TRAJECTORY}"))
    if not folders:
        raise ValueError(f"there are no episodes of DROID in {root}: no {TRAJECTORY} in it")
    paths = {folder: path for folder in folders if (path := _video_path(folder, camera)) is not None}
    if not paths:
        raise ValueError(f"none of {len(folders)} episodes in {root} has a video of the camera '{camera}'")
    videos = scan_videos(paths.values())
    max_fps = options.frames_per_second or FRAMES_PER_SECOND
    recordings, rates = [], []
    for folder, path in paths.items():
        if (video := videos.get(path)) is None:
            continue
        try:
            with h5py.File(folder / TRAJECTORY, "r") as file:
                states, extrinsics = _poses(file, path.stem)
        except (OSError, KeyError, ValueError, AttributeError):
            continue
        if abs(len(states) - video.num_frames) > MAX_LENGTH_DIFFERENCE:
            continue
        stride = max(1, math.ceil(video.facts.fps / max_fps - 1e-6))
        states = states[: video.num_frames : stride]
        actions = pose_differences(torch.from_numpy(states).double()).float().numpy()
        frames = video.part(slice(0, stride * len(states), stride))
        rates.append(video.facts.fps / stride)
        recordings.append(Recording(str(folder), frames, actions, states, extrinsics))
    if not recordings:
        raise ValueError(f"the files of none of {len(folders)} episodes in {root} can be read and fit each other")
    return store_recordings(recordings, options, common_fps(rates) or max_fps, len(folders) - len(recordings))


def _video_path(folder: Path, camera: str) -> Path | None:
    for path in files_below(folder, "*.json"):
        try:
            named = read_json(path).get(f"{camera}_mp4_path")
        except ValueError:
            continue
        if isinstance(named, str):
            video = folder / "recordings" / "MP4" / Path(named).name
            return video if video.is_file() else None
    return None


def _poses(file: Any, serial: str) -> tuple[Float32[np.ndarray, "T 7"], Float[np.ndarray, "6"]]:
    observation = file["observation"]
    pose = observation["robot_state/cartesian_position"][()]
    gripper = observation["robot_state/gripper_position"][()].reshape(len(pose), 1)
    extrinsics = observation["camera_extrinsics"].get(f"{serial}_left")
    # A static camera has the same extrinsics in every row.
    static = np.zeros(6) if extrinsics is None else extrinsics[0]
    return np.concatenate((pose, gripper), axis=1).astype(np.float32), static
