"""Matched pairs in small: a bright square moves over a grey ground, and in the odd clip jumps or changes its colour."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from vjepa.data.clips.matched_pairs import PairClips
from vjepa.data.video.encoding import encode_video

NUM_FRAMES = 14
SIZE = 32
VIOLATION = 8  # first frame that differs
COLUMNS = ("path", "pair", "possible", "property", "violation_frame", "harmless", "changed")
Rows = list[tuple[object, ...]]


def moving_square(row: int, jump: int = 0, grey: int = 90, at: int = VIOLATION, num_frames: int = NUM_FRAMES) -> Any:
    """Frames (T, H, W, 3); from frame `at` on, the square lies `jump` pixels lower, and the ground has another grey."""
    frames = np.full((num_frames, SIZE, SIZE, 3), 90, np.uint8)
    for number, frame in enumerate(frames):
        odd = number >= at
        frame[:] = grey if odd else 90
        top, left = row + (jump if odd else 0), 2 + 2 * (number % 12)
        frame[top : top + 6, left : left + 6] = (250, 220, 40)
    return frames


def write_pairs(folder: Path, pairs: int = 2, num_frames: int = NUM_FRAMES) -> Path:
    """A manifest `pairs.csv` of jumps (continuity) and of harmless changes of the ground (light)."""
    rows: Rows = []
    for number in range(pairs):
        for property, jump, grey in (("continuity", 12, 90), ("light", 0, 130)):
            harmless = property == "light"
            for odd in (False, True):
                name = f"{property}_{number}_{'odd' if odd else 'plain'}.mp4"
                change = {"jump": jump, "grey": grey} if odd else {}
                encode_video(folder / name, moving_square(2 + 2 * number, num_frames=num_frames, **change), 8)
                possible = int(harmless or not odd)
                frame = VIOLATION if odd and not harmless else ""
                rows.append(
                    (name, f"{property}_{number}", possible, property, frame, int(harmless), int(odd and harmless))
                )
    return write_table(folder / "pairs.csv", rows)


def write_table(file: Path, rows: Rows, columns: tuple[str, ...] = COLUMNS) -> Path:
    with file.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened).writerows([columns, *rows])
    return file


def tiny_pairs(manifest: Path, **settings: Any) -> PairClips:
    """Every frame at 32 x 32 pixels; decoded in this process. Other settings win."""
    given = {"test_manifest": str(manifest), "frame_step": 1, "crop_size": (SIZE, SIZE), "num_workers": 0}
    return PairClips(**{**given, **settings})
