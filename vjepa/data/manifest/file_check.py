"""The check of one file: its facts, whether its frames can be decoded, how fast, and its perceptual hashes.

Runs in killable processes (`killable_pool`): it is there to find files that hang or crash a decoder.
"""

import time
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from vjepa.data.manifest.duplicates import perceptual_hash
from vjepa.data.video.facts import FileOrBytes, VideoError, VideoFacts
from vjepa.data.video.pyav_reader import all_frames
from vjepa.data.video.reader import ReaderChain, ReaderName
from vjepa.data.video.storage import UNKNOWN, Version, fetch, version_of

FRAMES_PER_POINT = 4  # decoded at the start, in the middle and at the end
LARGEST_RUN = 64  # frames in memory while all are decoded
ROUNDING = 3  # of 255, between two conversions to RGB of 8-bit video


@dataclass(frozen=True)
class FileTask:
    path: str
    readers: tuple[ReaderName, ...] = ("decord", "pyav")
    decode: Literal["none", "ends", "all"] = "none"


@dataclass(frozen=True)
class FileReport:
    facts: VideoFacts | None = None  # None if the file holds no video
    reason: str = ""  # what is wrong
    reader: str = ""  # the first that returns the right frames
    version: Version = UNKNOWN
    decoded_frames: int = 0
    seconds: float = 0.0  # of processor time, for opening and decoding
    hashes: UInt8[np.ndarray, "3 8"] | None = None  # at the start, in the middle and at the end; None where flat


def check_file(task: FileTask) -> FileReport:
    chain = ReaderChain(task.readers, time_limit=None)  # the whole process has a limit
    version = version_of(task.path)  # before the scan: a file that changes meanwhile is scanned again when it is used
    try:
        source = fetch(task.path)
        facts = chain.scan(source)
    except VideoError as error:
        return FileReport(reason=str(error))
    reader = chain.reader_of(facts)
    report = FileReport(facts, reader=reader.name if reader else "", version=version)
    if task.decode == "none":
        return report
    began = time.process_time()
    reason, decoded, hashes = "", 0, None
    try:
        ends = _decode_ends(chain, source, facts)
        decoded, found = sum(map(len, ends)), [perceptual_hash(frames[0]) for frames in ends]
        if task.decode == "all":
            decoded = _decode_all(chain, source, facts)
        whole = [each for each in found if each is not None]
        hashes = np.stack(whole) if len(whole) == len(found) else None
    except VideoError as error:
        reason = str(error)
    seconds = time.process_time() - began
    return replace(report, reason=reason, decoded_frames=decoded, seconds=seconds, hashes=hashes)


def _decode_ends(chain: ReaderChain, source: FileOrBytes, facts: VideoFacts) -> list[UInt8[np.ndarray, "T H W 3"]]:
    frames = []
    for point in (0.1, 0.5, 0.9):
        first = int(point * facts.num_frames)
        frame_ids = [min(first + k, facts.num_frames - 1) for k in range(FRAMES_PER_POINT)]
        frames.append(chain.decode(source, facts, frame_ids))
    chain.decode(source, facts, [facts.num_frames - 1])
    return frames


def _decode_all(chain: ReaderChain, source: FileOrBytes, facts: VideoFacts) -> int:
    """Decode every frame, by the training run's reader and from the start; both must agree."""
    reader = chain.reader_of(facts)
    frames: list[np.ndarray] = []
    number = 0
    for number, frame in enumerate(all_frames(source, facts), start=1):
        frames.append(frame)
        if len(frames) == LARGEST_RUN or number == facts.num_frames:
            first = number - len(frames)
            ours = chain.decode(source, facts, range(first, number))
            differences = np.abs(ours.astype(np.int16) - np.stack(frames)).reshape(len(frames), -1).max(axis=1)
            wrong = np.flatnonzero(differences > ROUNDING)
            if len(wrong):
                name = reader.name if reader else ""
                raise VideoError(f"{name} returns another frame {first + wrong[0]} than decoding from the start does")
            frames = []
    if number < facts.num_frames:
        raise VideoError(f"only {number} of {facts.num_frames} frames can be decoded")
    return number
