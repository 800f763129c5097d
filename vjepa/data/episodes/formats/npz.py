"""Episodes in .npz files: arrays of frames, actions and states.

A file holds (T, ...), an episode or several one after another (`vjepa.data.episodes.boundaries`), or (E, T, ...).
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from vjepa.data.episodes.boundaries import episode_spans, kind_of
from vjepa.data.episodes.formats.files import NpzArrays, files_below
from vjepa.data.episodes.frames import ArrayFrames, resized
from vjepa.data.episodes.recordings import (
    FRAME_KEYS,
    ReadOptions,
    Recording,
    action_and_state_keys,
    boundary_arrays,
    require_key,
    store_recordings,
)
from vjepa.data.episodes.store import EpisodeStore


def detect(root: Path) -> bool:
    return root.suffix == ".npz" if root.is_file() else bool(files_below(root, "*.npz"))


def read(root: Path, options: ReadOptions) -> EpisodeStore:
    """The episodes of a file, or of all .npz files of a folder; their frames are held in memory."""
    files = files_below(root, "*.npz") if root.is_dir() else [root]
    if not files or not files[0].is_file():
        raise ValueError(f"there is no .npz file at {root}")
    recordings = [recording for file in files for recording in _recordings(file, options)]
    return store_recordings(recordings, replace(options, cache_gigabytes=0.0))  # they are in memory already


def _recordings(file: Path, options: ReadOptions) -> Iterator[Recording]:
    with NpzArrays(file) as arrays:
        frames_key = require_key(list(arrays), options.camera, FRAME_KEYS, "frames", str(file))
        actions_key, states_key = action_and_state_keys(list(arrays), options, str(file))
        images, actions = arrays[frames_key], arrays[actions_key]
        states = None if states_key is None else arrays[states_key]
        boundaries = boundary_arrays(arrays, (frames_key, actions_key, states_key))
    if images.dtype != np.uint8 or images.ndim not in (4, 5) or images.shape[-1] != 3:
        raise ValueError(
            f"frames of {file} must be (T, H, W, 3) or (E, T, H, W, 3) uint8, not {images.shape} {images.dtype}"
        )
    if images.ndim == 4:
        yield Recording(str(file), ArrayFrames(resized(images, options.resize)), actions, states, boundaries=boundaries)
        return
    for what, rows in (("actions", actions), ("states", images if states is None else states)):
        if len(rows) != len(images):
            raise ValueError(f"{file} has frames of {len(images)} episodes and {what} of {len(rows)}")
    for n, stored in enumerate(images):
        part = _rows_of_episode(boundaries, n, images.shape[:2], str(file))
        frames = ArrayFrames(resized(stored[part], options.resize))
        yield Recording(f"{file} episode {n}", frames, actions[n][part], None if states is None else states[n][part])


def _rows_of_episode(boundaries: Mapping[str, np.ndarray], episode: int, shape: tuple[int, int], file: str) -> slice:
    """Rows of one of many episodes of one length: all, or as many as an array of lengths says."""
    own: dict[str, np.ndarray] = {}
    for name, values in boundaries.items():
        is_length = kind_of(name) == "lengths"
        if values.shape[:1] == shape[:1] and (values.ndim > 1 or is_length):
            own[name] = np.asarray(values[episode])
            if is_length:
                own["ep_offset"] = np.zeros(1, int)
    spans = episode_spans(own, shape[1], f"{file} episode {episode}")
    if len(spans) > 1:
        raise ValueError(
            f"{', '.join(own)} of {file} end episode {episode} before its last row, and later rows may be padding; "
            "give the number of rows of each episode as 'ep_len', or episodes one after another"
        )
    return slice(*spans[0])
