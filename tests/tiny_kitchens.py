"""EPIC-Kitchens-100 in miniature: films whose frames tell their number by their grey, and a list of actions in them."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from vjepa.data.clips.anticipation import AnticipationClips
from vjepa.data.video.encoding import encode_video

FILM_FPS = 8
FILM_FRAMES = 96
GREY_STEP = 2.5  # from one frame to the next
COLUMNS = ("path", "verb", "noun", "participant", "split", "start", "end")
ACTIONS = [  # verb, noun, start and end in seconds
    ("open", "door", 3.0, 4.5),
    ("take", "knife", 4.0, 4.5),
    ("open", "door", 6.0, 9.0),
    ("wash", "knife", 8.0, 8.5),
]
UNSEEN = ("wash", "door", 9.0, 10.0)  # verb and noun are known, the pair is not


def write_kitchens(folder: Path, participants: int = 4) -> Path:
    """Films and manifest. The last participant's actions are the test split, with a pair that no other has."""
    rows = []
    grey = (GREY_STEP * np.arange(FILM_FRAMES)).round().astype(np.uint8)
    frames = np.broadcast_to(grey[:, None, None, None], (FILM_FRAMES, 32, 32, 3))
    for number in range(1, participants + 1):
        name = f"P{number:02d}"
        film = folder / "films" / name / f"{name}_01.mp4"
        film.parent.mkdir(parents=True)
        encode_video(film, np.ascontiguousarray(frames), FILM_FPS)
        last = number == participants
        for action in [*ACTIONS, *([UNSEEN] if last else [])]:
            verb, noun, start, end = action
            path = film.relative_to(folder).as_posix()
            rows.append((path, verb, noun, name, "test" if last else "train", start, end))
    manifest = folder / "actions.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return manifest


def tiny_actions(manifest: Path, **settings: Any) -> AnticipationClips:
    """Clips of 4 frames of 32 x 32 at 8 frames per second; decoded in this process. Other settings win."""
    of_splits = {"train_manifest": str(manifest), "train_split": "train", "test_split": "test"}
    cuts = {"num_frames": 4, "crop_size": (32, 32), "num_workers": 0, "batch_size": 4, "group": "participant"}
    return AnticipationClips(**{**of_splits, **cuts, **settings})
