"""Episodes in .npz files: arrays of frames, actions and states; a file holds one (T, ...) or many (E, T, ...)."""

from pathlib import Path

import numpy as np

from vjepa.data.episodes.formats.folder import open_npz
from vjepa.data.episodes.frames import ArrayFrames, check_sizes, resized
from vjepa.data.episodes.store import (
    ACTION_KEYS,
    STATE_KEYS,
    Episodes,
    Recording,
    episodes_of_recordings,
    key_of,
    needed_key,
    starts_of,
)

FRAME_KEYS = ("images", "image", "frames", "pixels", "video", "observations")


def read_npz(
    root: Path,
    resize: tuple[int, int] | None = None,
    camera: str | None = None,
    action_key: str | None = None,
    state_key: str | None = None,
) -> Episodes:
    """The episodes of a file, or of all .npz files of a folder; their frames are held in memory."""
    files = sorted(root.glob("*.npz")) if root.is_dir() else [root]
    if not files or not files[0].is_file():
        raise ValueError(f"there is no .npz file at {root}")
    names: list[str] = []
    recordings: list[Recording] = []
    frames: list[np.ndarray] = []
    sizes: list[tuple[int, int]] = []
    for file in files:
        for recording, images in _episodes_of(file, camera, action_key, state_key):
            names.append(recording.name)
            recordings.append(recording)
            sizes.append((images.shape[1], images.shape[2]))
            check_sizes([names[0], recording.name], [sizes[0], sizes[-1]], resize)
            frames.append(resized(images, resize))
    firsts = starts_of(np.array([len(images) for images in frames]))
    return episodes_of_recordings(recordings, ArrayFrames(np.concatenate(frames), firsts))


def _episodes_of(
    file: Path, camera: str | None, action_key: str | None, state_key: str | None
) -> list[tuple[Recording, np.ndarray]]:
    with open_npz(file) as arrays:
        images = arrays[needed_key(arrays.files, camera, FRAME_KEYS, "frames", str(file))]
        actions = arrays[needed_key(arrays.files, action_key, ACTION_KEYS, "actions", str(file))]
        found = key_of(arrays.files, state_key, STATE_KEYS, "states", str(file))
        states = None if found is None else arrays[found]
    if images.dtype != np.uint8 or images.ndim not in (4, 5) or images.shape[-1] != 3:
        raise ValueError(
            f"frames of {file} must be (T, H, W, 3) or (E, T, H, W, 3) uint8, not {images.shape} {images.dtype}"
        )
    if images.ndim == 4:
        return [(Recording(file.name, len(images), actions, states), images)]
    for what, rows in (("actions", actions), ("states", images if states is None else states)):
        if len(rows) != len(images):
            raise ValueError(f"{file} has frames of {len(images)} episodes and {what} of {len(rows)}")
    return [
        (
            Recording(f"{file.name} episode {n}", len(images[n]), actions[n], None if states is None else states[n]),
            images[n],
        )
        for n in range(len(images))
    ]
