"""Episodes in .npz files: arrays of frames, actions and states; a file holds one (T, ...) or many (E, T, ...)."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from vjepa.data.episodes.formats.files import open_npz
from vjepa.data.episodes.frames import ArrayFrames, resized
from vjepa.data.episodes.recordings import (
    FRAME_KEYS,
    ReadOptions,
    Recording,
    action_and_state_keys,
    require_key,
    store_recordings,
)
from vjepa.data.episodes.store import EpisodeStore


def detect(root: Path) -> bool:
    return root.suffix == ".npz" if root.is_file() else any(root.glob("*.npz"))


def read(root: Path, options: ReadOptions) -> EpisodeStore:
    """The episodes of a file, or of all .npz files of a folder; their frames are held in memory."""
    files = sorted(root.glob("*.npz")) if root.is_dir() else [root]
    if not files or not files[0].is_file():
        raise ValueError(f"there is no .npz file at {root}")
    recordings = [recording for file in files for recording in _recordings(file, options)]
    return store_recordings(recordings, replace(options, cache_gigabytes=0.0))  # they are in memory already


def _recordings(file: Path, options: ReadOptions) -> Iterator[Recording]:
    with open_npz(file) as arrays:
        images = arrays[require_key(arrays.files, options.camera, FRAME_KEYS, "frames", str(file))]
        actions_key, states_key = action_and_state_keys(arrays.files, options, str(file))
        actions, states = arrays[actions_key], None if states_key is None else arrays[states_key]
    if images.dtype != np.uint8 or images.ndim not in (4, 5) or images.shape[-1] != 3:
        raise ValueError(
            f"frames of {file} must be (T, H, W, 3) or (E, T, H, W, 3) uint8, not {images.shape} {images.dtype}"
        )
    if images.ndim == 4:
        yield Recording(file.name, ArrayFrames(resized(images, options.resize)), actions, states)
        return
    for what, rows in (("actions", actions), ("states", images if states is None else states)):
        if len(rows) != len(images):
            raise ValueError(f"{file} has frames of {len(images)} episodes and {what} of {len(rows)}")
    for n, stored in enumerate(images):
        frames = ArrayFrames(resized(stored, options.resize))
        yield Recording(f"{file.name} episode {n}", frames, actions[n], None if states is None else states[n])
