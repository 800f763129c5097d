"""Episodes in HDF5 files, of the layouts that are common.

* A group for each episode, at the top or under `data` (robomimic), with a uint8 dataset of frames (T, H, W, 3), maybe
  several cameras, and one of actions (T, A).
* Datasets of all episodes one after another, with `ep_len` and perhaps `ep_offset` (stable-worldmodel).
* One episode in each file of a folder.

Frames are read when they are asked for; actions and states at once.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vjepa.data.episodes.formats.npz import FRAME_KEYS
from vjepa.data.episodes.frames import LoadedFrames, check_sizes
from vjepa.data.episodes.store import (
    ACTION_KEYS,
    STATE_KEYS,
    Episodes,
    Recording,
    episodes_of_recordings,
    key_of,
    needed_key,
)

SUFFIXES = (".h5", ".hdf5")


class _Part(NamedTuple):
    """The frames of a dataset that are an episode's."""

    path: str
    dataset: str
    first: int
    size: tuple[int, int]  # height, width


def read_hdf5(
    root: Path,
    resize: tuple[int, int] | None = None,
    camera: str | None = None,
    action_key: str | None = None,
    state_key: str | None = None,
    cache_gigabytes: float = 2.0,
) -> Episodes:
    """The episodes of a file, or of all HDF5 files of a folder; a file that can't be opened is left out."""
    h5py = import_h5py(root)
    files = hdf5_files(root) if root.is_dir() else [root]
    if not files or not files[0].is_file():
        raise ValueError(f"there is no HDF5 file at {root}")
    recordings, parts, reasons = [], [], []
    for path in files:
        try:
            file = h5py.File(path, "r")
        except OSError as error:
            reasons.append(f"{path}: {error}")
            continue
        with file:
            for recording, part in _episodes_of(file, path, camera, action_key, state_key):
                recordings.append(recording)
                parts.append(part)
    if not recordings:
        raise ValueError(f"no HDF5 file can be read: {reasons[0]}")
    names = [recording.name for recording in recordings]
    sizes = [part.size for part in parts]
    check_sizes(names, sizes, resize)
    num_frames = [recording.num_frames for recording in recordings]
    source = LoadedFrames(_Hdf5Loader(parts), num_frames, sizes[0], resize, cache_gigabytes)
    return episodes_of_recordings(recordings, source, num_left_out=len(reasons))


def hdf5_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)


def import_h5py(needed_for: Path) -> Any:
    try:
        import h5py
    except ImportError:
        raise ValueError(f"reading {needed_for} needs h5py: pip install 'vjepa[hdf5]'") from None
    return h5py


def _episodes_of(
    file: Any, path: Path, camera: str | None, action_key: str | None, state_key: str | None
) -> Iterator[tuple[Recording, _Part]]:
    top = file["data"] if "data" in file and hasattr(file["data"], "keys") else file
    if "ep_len" in top:
        lengths = top["ep_len"][()].astype(int).ravel()
        firsts = top["ep_offset"][()].astype(int).ravel() if "ep_offset" in top else np.cumsum(lengths) - lengths
        yield from _cut(top, path, camera, action_key, state_key, firsts.tolist(), lengths.tolist())
        return
    is_one_episode = any(hasattr(each, "shape") for each in top.values())
    groups = [top] if is_one_episode else [top[name] for name in sorted(top, key=_by_number)]
    if not groups:
        raise ValueError(f"there are no episodes in {path}")
    for group in groups:
        yield from _cut(group, path, camera, action_key, state_key, [0], None)


def _cut(
    group: Any,
    path: Path,
    camera: str | None,
    action_key: str | None,
    state_key: str | None,
    firsts: Sequence[int],
    lengths: Sequence[int] | None,  # all rows, of one episode, if None
) -> Iterator[tuple[Recording, _Part]]:
    datasets = _datasets_of(group)
    where = f"{path}{'' if group.name == '/' else ' ' + group.name}"
    pictures = [name for name, each in datasets.items() if each.dtype == np.uint8 and each.ndim == 4]
    frames_name = key_of(pictures, camera, FRAME_KEYS, "frames", where) or next(iter(pictures), None)
    if frames_name is None:
        raise ValueError(f"no frames in {where}: none of its datasets is (T, H, W, 3) uint8")
    frames = datasets[frames_name]
    if frames.shape[-1] != 3:
        raise ValueError(f"frames {frames_name} of {where} must be (T, H, W, 3), not {frames.shape}")
    actions = datasets[needed_key(list(datasets), action_key, ACTION_KEYS, "actions", where)][()]
    states_name = key_of(list(datasets), state_key, STATE_KEYS, "states", where)
    states = None if states_name is None else datasets[states_name][()]
    size = frames.shape[1:3]
    if lengths is None:
        yield Recording(where, len(frames), actions, states), _Part(str(path), frames.name, 0, size)
        return
    for number, (first, length) in enumerate(zip(firsts, lengths, strict=True)):
        rows = slice(first, first + length)
        of_states = None if states is None else states[rows]
        recording = Recording(
            f"{where} episode {number}", len(range(*rows.indices(len(frames)))), actions[rows], of_states
        )
        yield recording, _Part(str(path), frames.name, first, size)


def _datasets_of(group: Any) -> dict[str, Any]:
    """All datasets below a group by their path in it; those of robomimic's `next_obs` are of other times."""
    found: dict[str, Any] = {}

    def add(name: str, each: Any) -> None:
        if hasattr(each, "shape") and not name.startswith("next_obs"):
            found[name] = each

    group.visititems(add)
    return found


def _by_number(name: str) -> tuple:
    """demo_2 before demo_10."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part)


class _Hdf5Loader:
    """Frames of episodes out of HDF5 files, which each process opens for itself, once."""

    def __init__(self, parts: Sequence[_Part]):
        self.parts = parts
        self._files: dict[tuple[int, str], Any] = {}

    def __call__(self, episode: int, numbers: np.ndarray) -> np.ndarray:  # (n, H, W, 3) uint8
        part = self.parts[episode]
        dataset = self._file(part.path)[part.dataset]
        first, last = part.first + int(numbers[0]), part.first + int(numbers[-1])
        if len(numbers) * 4 >= last - first + 1:  # one read of a range is far faster than a list of rows
            return dataset[first : last + 1][numbers - numbers[0]]
        return dataset[numbers + part.first]

    def _file(self, path: str) -> Any:
        key = (os.getpid(), path)
        if key not in self._files:
            self._files[key] = import_h5py(Path(path)).File(path, "r")
        return self._files[key]

    def __getstate__(self) -> dict[str, object]:
        return {"parts": self.parts, "_files": {}}
