"""Which frames make a clip: arithmetic on the file's length and rate and one random number."""

import numpy as np


def clip_frame_ids(
    file_frames: int,
    file_fps: float,
    num_frames: int,
    fps: float | None,  # frames per second of the clip
    frame_step: float | None,  # or file frames from one clip frame to the next; exactly one of the two is given
    uniform: float,  # in [0, 1): where in the file the clip starts
) -> np.ndarray:  # (num_frames,) int64, ascending, each in [0, file_frames)
    """Evenly spaced frames.

    A file too short for that is spread evenly over the clip instead of freezing at its end, and a file slower than
    `fps` repeats frames.
    """
    if (fps is None) == (frame_step is None):
        raise ValueError(f"give exactly one of fps ({fps}) and frame_step ({frame_step})")
    step = frame_step if frame_step is not None else file_fps / fps  # type: ignore[operator]
    if not (step > 0 and np.isfinite(step)):
        raise ValueError(f"a clip can't be cut at a step of {step} frames (file rate {file_fps} fps)")
    span = (num_frames - 1) * step
    start = int(uniform * (file_frames - span))
    if span > file_frames - 1:
        start, step = 0, (file_frames - 1) / max(1, num_frames - 1)
    ids = start + step * np.arange(num_frames)
    return np.clip(np.floor(ids + 1e-6), 0, file_frames - 1).astype(np.int64)
