"""Episodes in HDF5 files, of the common layouts.

* A group for each episode, at the top or under `data` (robomimic), with a uint8 dataset of frames (T, H, W, 3), maybe
  several cameras, and one of actions (T, A).
* Datasets of all episodes, concatenated, with one that tells them apart (`vjepa.data.episodes.boundaries`).
* One episode in each file of a folder.

Frames are read when they are needed; actions and states at once. A file of a folder that can't be read is skipped.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from vjepa.data.episodes.boundaries import of_group
from vjepa.data.episodes.formats.files import files_below, import_h5py
from vjepa.data.episodes.recordings import (
    FRAME_KEYS,
    ReadOptions,
    Recording,
    action_and_state_keys,
    boundary_arrays,
    find_key,
    store_recordings,
)
from vjepa.data.episodes.store import EpisodeStore

SUFFIXES = (".h5", ".hdf5")


def detect(root: Path) -> bool:
    return root.suffix in SUFFIXES if root.is_file() else bool(_files(root))


def read(root: Path, options: ReadOptions) -> EpisodeStore:
    """The episodes of a file, or of all HDF5 files of a folder."""
    h5py = import_h5py(root)
    paths = _files(root) if root.is_dir() else [root]
    if not paths or not paths[0].is_file():
        raise ValueError(f"there is no HDF5 file at {root}")
    recordings: list[Recording] = []
    reasons = []
    opened = _OpenFiles()
    for path in paths:
        try:
            with h5py.File(path, "r") as file:
                recordings += list(_recordings(file, path, opened, options))
        except (OSError, KeyError, RuntimeError) as error:
            reasons.append(f"{path}: {error}")
    if not recordings:
        raise ValueError(f"no HDF5 file can be read: {reasons[0]}")
    return store_recordings(recordings, options, num_skipped=len(reasons))


def _files(folder: Path) -> list[Path]:
    return sorted(path for suffix in SUFFIXES for path in files_below(folder, f"*{suffix}"))


class _OpenFiles:
    """HDF5 files, opened once in each process that reads them."""

    def __init__(self) -> None:
        self._files: dict[tuple[int, str], Any] = {}

    def __getitem__(self, path: str) -> Any:
        key = (os.getpid(), path)
        if key not in self._files:
            self._files[key] = import_h5py(Path(path)).File(path, "r")
        return self._files[key]

    def __reduce__(self) -> tuple[type["_OpenFiles"], tuple[()]]:
        return _OpenFiles, ()


@dataclass(frozen=True)
class _DatasetFrames:
    """Rows of a dataset."""

    opened: _OpenFiles
    path: str
    dataset: str
    first: int
    num_frames: int
    size: tuple[int, int]

    def part(self, rows: slice) -> "_DatasetFrames":
        return replace(self, first=self.first + rows.start, num_frames=rows.stop - rows.start)

    def read(self, frame_ids: Int64[np.ndarray, " n"]) -> UInt8[np.ndarray, "n H W 3"]:
        dataset = self.opened[self.path][self.dataset]
        rows = self.first + frame_ids
        if len(rows) * 4 >= rows[-1] - rows[0] + 1:  # one read of a range is far faster than a list of rows
            return dataset[rows[0] : rows[-1] + 1][rows - rows[0]]
        return dataset[rows]


def _recordings(file: Any, path: Path, opened: _OpenFiles, options: ReadOptions) -> Iterator[Recording]:
    top = file["data"] if "data" in file and hasattr(file["data"], "keys") else file
    if any(hasattr(each, "shape") for each in top.values()):  # one episode, or several one after another
        # Beside the group `data` the ends of its episodes may be, as `meta/episode_ends`.
        yield _recording(top, path, opened, options, boundary_arrays(_datasets(file), ()))
        return
    if not len(top):
        raise ValueError(f"there are no episodes in {path}")
    for name in sorted(top, key=_by_number):
        yield _recording(top[name], path, opened, options, of_group(name, boundary_arrays(_datasets(top[name]), ())))


def _recording(
    group: Any, path: Path, opened: _OpenFiles, options: ReadOptions, boundaries: dict[str, np.ndarray]
) -> Recording:
    datasets = _datasets(group)
    where = f"{path}{'' if group.name == '/' else ' ' + group.name}"
    cameras = [name for name, each in datasets.items() if each.dtype == np.uint8 and each.ndim == 4]
    frames_key = find_key(cameras, options.camera, FRAME_KEYS, "frames", where) or next(iter(cameras), None)
    if frames_key is None:
        raise ValueError(f"no frames in {where}: none of its datasets is (T, H, W, 3) uint8")
    frames = datasets[frames_key]
    if frames.shape[-1] != 3:
        raise ValueError(f"frames {frames_key} of {where} must be (T, H, W, 3), not {frames.shape}")
    actions_key, states_key = action_and_state_keys(list(datasets), options, where)
    actions, states = datasets[actions_key][()], None if states_key is None else datasets[states_key][()]
    images = _DatasetFrames(opened, str(path), frames.name, 0, len(frames), frames.shape[1:3])
    return Recording(where, images, actions, states, boundaries=boundaries)


def _datasets(group: Any) -> dict[str, Any]:
    """All datasets below a group by their path in it, without robomimic's `next_obs`, which are of later times."""
    found: dict[str, Any] = {}

    def add(name: str, each: Any) -> None:
        if hasattr(each, "shape") and not name.startswith("next_obs"):
            found[name] = each

    group.visititems(add)
    return found


def _by_number(name: str) -> tuple[tuple[bool, int, str], ...]:
    """demo_2 before demo_10."""
    parts = filter(None, re.split(r"(\d+)", name))
    return tuple((False, int(part), "") if part.isdigit() else (True, 0, part) for part in parts)
