"""What one file is worth: its facts, whether its frames can be decoded, how fast, and what it looks like.

Runs in processes of its own (`killable_pool`), because files that hang or crash a decoder are what it is there to find.
"""

import os
import time
from dataclasses import dataclass, replace

import cv2
import numpy as np

from vjepa.data.video.facts import FileOrBytes, VideoError, VideoFacts
from vjepa.data.video.pyav_reader import all_frames
from vjepa.data.video.reader import ReaderChain, ReaderName
from vjepa.data.video.storage import fetch

FRAMES_PER_LOOK = 4  # decoded at the start, in the middle and at the end
LARGEST_RUN = 64  # frames held in memory while all are decoded
ROUNDING = 3  # of 255, between two conversions to RGB of 8-bit video
FLAT = 4.0  # grey levels: a picture whose standard deviation is less says nothing about who it is

SLOWEST_WAVES = sorted(((i, j) for i in range(12) for j in range(12)), key=sum)[1:65]  # but the mean


@dataclass(frozen=True)
class FileTask:
    path: str
    readers: tuple[ReaderName, ...] = ("decord", "pyav")
    decode: str = "none"  # "none", "ends" or "all"


@dataclass(frozen=True)
class FileReport:
    """What was found. `reason` says what is wrong; `facts` is None where the file holds no video."""

    facts: VideoFacts | None = None
    reason: str = ""
    reader: str = ""  # the first that gets the file right
    num_bytes: int = 0
    decoded_frames: int = 0
    seconds: float = 0.0  # of processor time, for opening and decoding
    looks: np.ndarray | None = None  # (3, 8) uint8: 64 bits for the start, the middle and the end; None where flat


def check_file(task: FileTask) -> FileReport:
    chain = ReaderChain(task.readers, time_limit=None)  # the process itself is killed
    try:
        source = fetch(task.path)
        facts = chain.scan(source)
    except VideoError as error:
        return FileReport(reason=str(error))
    reader = chain.reader_of(facts)
    report = FileReport(facts=facts, reader=reader.name if reader else "", num_bytes=_size_of(source))
    if task.decode == "none":
        return report
    began = time.process_time()
    decoded, looks = 0, None
    try:
        ends = _decode_ends(chain, source, facts)
        decoded, looks = sum(map(len, ends)), [_look(frames[0]) for frames in ends]
        if task.decode == "all":
            decoded = _decode_all(chain, source, facts)
    except VideoError as error:
        return replace(report, reason=str(error), decoded_frames=decoded, seconds=time.process_time() - began)
    seen = None if any(look is None for look in looks) else np.stack(looks)  # type: ignore[arg-type]
    return replace(report, decoded_frames=decoded, seconds=time.process_time() - began, looks=seen)


def _decode_ends(chain: ReaderChain, source: FileOrBytes, facts: VideoFacts) -> list[np.ndarray]:
    frames = []
    for place in (0.1, 0.5, 0.9):
        first = int(place * facts.num_frames)
        frame_ids = [min(first + k, facts.num_frames - 1) for k in range(FRAMES_PER_LOOK)]
        frames.append(chain.decode(source, facts, frame_ids))
    chain.decode(source, facts, [facts.num_frames - 1])
    return frames


def _decode_all(chain: ReaderChain, source: FileOrBytes, facts: VideoFacts) -> int:
    """Decode every frame, by the reader that a training run would use and plainly from the start; both must agree."""
    reader = chain.reader_of(facts)
    frames: list[np.ndarray] = []
    number = 0
    for number, frame in enumerate(all_frames(source, facts), start=1):
        frames.append(frame)
        if len(frames) == LARGEST_RUN or number == facts.num_frames:
            ours = chain.decode(source, facts, range(number - len(frames), number))
            _compare(ours, np.stack(frames), number - len(frames), reader.name if reader else "")
            frames = []
    if number < facts.num_frames:
        raise VideoError(f"only {number} of {facts.num_frames} frames can be decoded")
    return number


def _compare(ours: np.ndarray, plain: np.ndarray, first: int, name: str) -> None:
    differences = np.abs(ours.astype(np.int16) - plain).reshape(len(plain), -1).max(axis=1)
    wrong = np.flatnonzero(differences > ROUNDING)
    if len(wrong):
        raise VideoError(f"{name} returns another frame {first + wrong[0]} than decoding from the start does")


def _look(
    frame: np.ndarray,  # (H, W, 3) uint8
) -> np.ndarray | None:  # (8,) uint8
    """A perceptual hash: the signs of the 64 slowest waves in the picture, which scaling and coding hardly change."""
    grey = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    if grey.std() < FLAT:
        return None
    waves = cv2.dct(grey.astype(np.float32))
    return np.packbits([waves[row, column] > 0 for row, column in SLOWEST_WAVES])


def _size_of(source: FileOrBytes) -> int:
    return len(source) if isinstance(source, bytes) else os.path.getsize(source)
