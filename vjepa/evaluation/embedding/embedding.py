"""Features of whole videos by sliding windows, one file for each video (`vjepa embed`)."""

import hashlib
import json
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

import vjepa
from vjepa.data.atomic_file import write_table
from vjepa.data.clips.frame_sampling import FrameSampling
from vjepa.data.clips.sliding_windows import (
    SlidingWindowDataset,
    SlidingWindows,
    Stretch,
    StretchKey,
    Unreadable,
    Video,
)
from vjepa.data.loading import decoding_loader
from vjepa.data.progress import report_progress
from vjepa.data.video import storage
from vjepa.data.video.reader import ReaderChain, ReaderName
from vjepa.evaluation.accelerator import Precision, torch_device
from vjepa.evaluation.embedding.feature_file import Array, FeatureFile, FileFormat, read_metadata
from vjepa.evaluation.embedding.sources import videos_of
from vjepa.evaluation.embedding.window_encoder import FeatureKind, WindowEncoder
from vjepa.interop.load_encoder import LoadedEncoder
from vjepa.processors import count_processors

VIDEOS_AT_ONCE = 256  # unfinished videos
MOST_WORKERS = 16  # by default
INDEX_COLUMNS = ("path", "start", "end", "output", "windows", "seconds", "status", "reason")


def embed_videos(
    sources: Sequence[str],
    encoder: LoadedEncoder,
    output: Path,
    features: FeatureKind = "pooled",
    levels: list[int] | None = None,
    stride: float = 1.0,
    max_windows: int | None = None,
    num_frames: int | None = None,
    fps: float | None = None,
    frame_step: float | None = None,
    crop_size: tuple[int, int] | None = None,
    root: str | None = None,
    split: str | None = None,
    format: FileFormat = "safetensors",
    dtype: Literal["float32", "float16"] = "float32",
    batch_size: int = 8,
    num_workers: int | None = None,
    accelerator: str = "auto",
    precision: Precision = "32-true",
    readers: list[ReaderName] = ["pyav"],  # noqa: B006 (read only)
    decode_time_limit: float | None = 60.0,
) -> None:
    """Write a feature file for each video, and `index.csv`. Files that exist with the same settings are kept.

    Args:
        sources: videos, images, folders of them, and manifests.
        encoder: makes the features; has the preprocessing of clips.
        output: folder of the feature files, laid out as the videos are.
        features: the mean of a window's tokens ("pooled"), all of them ("dense"), or the encoder's one embedding of a
            clip: its class token, or the mean without one ("embedding").
        levels: blocks whose tokens are written, from 0, each as `level_{k}`; the encoder's output, `features`, if None.
        stride: from one window's start to the next, in windows: 1 is back to back, 0.5 half overlapping.
        max_windows: of a video; longer videos have this many, spread evenly.
        num_frames: frames of a window; this and the next three are as in the encoder's training if None.
        fps: frames per second of a window.
        frame_step: instead of fps, frames of the file from one frame of a window to the next.
        crop_size: height and width of a window in pixels.
        root: folder that a manifest's paths are relative to.
        split: only rows of this split of a manifest.
        format: of the files.
        dtype: of the features in them.
        batch_size: windows that are encoded at once.
        num_workers: decoding processes; one per processor, at most 16, if None.
        accelerator: as for Lightning's trainer.
        precision: of the encoder.
        readers: tried in this order. Pixels are the same; decord reads the whole file for every few windows.
        decode_time_limit: seconds after which a hanging reader is abandoned.

    Raises:
        ValueError: a source is missing, settings do not fit, or no video can be read.
    """
    started = time.monotonic()
    if batch_size < 1:
        raise ValueError(f"batch_size ({batch_size}) must be at least 1")
    preprocessing = encoder.preprocessing.changed(num_frames, fps, frame_step, crop_size)
    frames = FrameSampling(preprocessing.num_frames, preprocessing.fps, preprocessing.frame_step)
    windows = SlidingWindows(frames, stride, max_windows)
    readers_in_order = ReaderChain(readers, decode_time_limit)
    videos = videos_of(sources, root, split)
    versions = storage.versions_of([video.path for video in videos.values()])
    jobs = [
        Job(video, output, f"{name}.{format}", version)
        for (name, video), version in zip(videos.items(), versions, strict=True)
    ]
    device = torch_device(accelerator)
    network = WindowEncoder(encoder, preprocessing, features, levels, device, precision)
    metadata = {
        "vjepa": vjepa.__version__,
        "checkpoint": as_text(encoder.source),
        "family": encoder.family,
        "weights": network.fingerprint(),
        "features": features,
        "levels": json.dumps(levels),
        "preprocessing": json.dumps(asdict(preprocessing)),
        "stride": repr(stride),
        "max_windows": json.dumps(max_windows),
        "precision": precision,
        "dtype": dtype,
    }
    embedding = Embedding(
        jobs,
        network,
        SlidingWindowDataset(windows, preprocessing.crop_size, readers_in_order),
        metadata,
        format,
        batch_size,
        min(count_processors(), MOST_WORKERS) if num_workers is None else num_workers,
    )
    output.mkdir(parents=True, exist_ok=True)
    kept = embedding.keep_finished()
    if kept < len(jobs):
        what = f"features of {len(jobs) - kept} videos, written to {output}"
        for _ in report_progress(whole_percents(embedding.run()), 100, what, size_of=int, percent=True):
            pass
    write_table(output / "index.csv", INDEX_COLUMNS, [job.row() for job in jobs])
    failed = [job for job in jobs if job.status == "failed"]
    if len(failed) == len(jobs):
        raise ValueError(
            f"none of the {len(jobs)} videos could be read, the first is {jobs[0].video.path}: {jobs[0].reason}"
        )
    if failed:
        print(f"could not be read: {len(failed)}, the first is {failed[0].video.path} ({failed[0].reason})")
    print(
        f"{output / 'index.csv'}: {len(jobs) - len(failed)} of {len(jobs)} videos with "
        f"{sum(job.num_windows for job in jobs)} windows, {kept} of them kept from before, "
        f"after {time.monotonic() - started:.0f} s"
    )


@dataclass
class Job:
    """A video and the state of its feature file."""

    video: Video
    output: Path  # folder of all feature files
    name: str  # of the file, unique below that folder
    version: storage.Version  # of the video's file
    status: Literal["", "done", "failed"] = ""
    reason: str = ""
    num_windows: int = 0
    seconds: float = 0.0  # from the first window's start to the last one's end

    @property
    def target(self) -> Path:
        return self.output / self.name

    def is_made_from(self, metadata: Mapping[str, str]) -> bool:
        """Whether the feature file, with this metadata, was made from the video as it is now."""
        modified = self.version.modified
        if "modified" in metadata:
            return metadata["modified"] == repr(modified)
        return modified is None or modified <= self.target.stat().st_mtime  # an older file does not say

    def row(self) -> dict[str, Any]:
        """Its line of `index.csv`."""
        start, end = ("" if second is None else second for second in self.video[1:])
        row = {"path": self.video.path, "start": start, "end": end, "status": self.status, "reason": self.reason}
        if self.status == "done":
            row |= {"output": self.name, "windows": self.num_windows, "seconds": round(self.seconds, 3)}
        return row


class _Window(NamedTuple):
    """A decoded window that has not been encoded."""

    job: int
    window: int
    pixels: UInt8[Tensor, "3 T H W"]


@dataclass
class Embedding:
    """Decodes and encodes windows, and writes feature files.

    Args:
        jobs: videos and their files.
        network: makes the features.
        dataset: decodes.
        metadata: of all files; files with other metadata are made anew.
        format: of the files.
        batch_size: windows that are encoded at once.
        num_workers: decoding processes.
    """

    jobs: list[Job]
    network: WindowEncoder
    dataset: SlidingWindowDataset
    metadata: dict[str, str]
    format: FileFormat
    batch_size: int
    num_workers: int
    _files: dict[int, FeatureFile] = field(default_factory=dict, init=False)  # unfinished, by the job's number
    _missing_rows: dict[int, int] = field(default_factory=dict, init=False)

    def keep_finished(self) -> int:
        """Mark jobs whose file was made from the same video with the same settings; returns their number."""
        kept = []
        for job in self.jobs:
            metadata = read_metadata(job.target)
            if metadata.get("settings") != self._settings_hash(job) or not job.is_made_from(metadata):
                continue
            kept.append(job)
            job.status, job.num_windows, job.seconds = "done", int(metadata["windows"]), float(metadata["seconds"])
        return len(kept)

    def run(self) -> Iterator[float]:
        """Do all unfinished jobs; yields after each step its fraction of the videos' bytes."""
        numbers = [number for number, job in enumerate(self.jobs) if not job.status]
        sizes = {number: self.jobs[number].version.num_bytes or 1 for number in numbers}
        left = {number: size / sum(sizes.values()) for number, size in sizes.items()}  # fractions not yet yielded
        waiting: list[_Window] = []
        with tempfile.TemporaryDirectory(prefix=".unfinished_", dir=self.jobs[0].output) as scratch:
            for stretch in self._stretches(numbers):
                fraction = left[stretch.number]
                if isinstance(stretch, Unreadable):
                    self._give_up(stretch)
                else:
                    if stretch.first_window == 0:
                        self._begin(stretch, Path(scratch))
                    for window, pixels in stretch.clips():
                        waiting.append(_Window(stretch.number, window, pixels))
                        if len(waiting) == self.batch_size:
                            self._encode(waiting)
                            waiting = []
                    fraction *= len(stretch.indices) / (self.jobs[stretch.number].num_windows - stretch.first_window)
                left[stretch.number] -= fraction
                yield fraction
            if waiting:
                self._encode(waiting)

    def _stretches(self, numbers: list[int]) -> Iterator[Stretch | Unreadable]:
        """All stretches of these jobs: for a group of videos the first stretches, which have the plan, then the others.

        Many short videos keep all workers busy, and so does a single long one.
        """
        for start in range(0, len(numbers), VIDEOS_AT_ONCE):
            some = numbers[start : start + VIDEOS_AT_ONCE]
            others: list[StretchKey] = []
            for stretch in self._decoded(StretchKey(number, self.jobs[number].video) for number in some):
                if isinstance(stretch, Stretch):
                    key = StretchKey(stretch.number, self.jobs[stretch.number].video, 0, stretch.plan)
                    others += [key._replace(stretch=number) for number in range(1, len(stretch.plan.stretches))]
                yield stretch
            if others:
                # A video with an unreadable stretch is not decoded further.
                yield from self._decoded(key for key in others if self.jobs[key.number].status != "failed")

    def _decoded(self, keys: Iterable[StretchKey]) -> Iterator[Stretch | Unreadable]:
        yield from decoding_loader(self.dataset, ([key] for key in keys), _only, self.num_workers)

    def _begin(self, stretch: Stretch, scratch: Path) -> None:
        job, windows = self.jobs[stretch.number], stretch.plan.windows
        job.num_windows = len(windows.frame_ids)
        job.seconds = float(windows.end_seconds[-1] - windows.start_seconds[0])
        whole = {"start_seconds": windows.start_seconds, "end_seconds": windows.end_seconds}
        if self.network.features == "dense":
            whole["token_grid"] = np.array(self.network.grid, np.int64)
        layout = Array(np.dtype(self.metadata["dtype"]), (job.num_windows, *self.network.window_shape))
        metadata = self.metadata | {
            "settings": self._settings_hash(job),
            "video": as_text(job.video.path),
            "modified": repr(job.version.modified),
            "windows": str(job.num_windows),
            "seconds": repr(job.seconds),
        }
        part = scratch / str(stretch.number)
        self._files[stretch.number] = FeatureFile(part, whole, dict.fromkeys(self.network.names, layout), metadata)
        self._missing_rows[stretch.number] = job.num_windows

    def _encode(self, windows: list[_Window]) -> None:
        found = self.network(torch.stack([window.pixels for window in windows]))
        rows = {name: values.numpy().astype(self.metadata["dtype"], copy=False) for name, values in found.items()}
        # Consecutive windows of a video are written in one piece.
        for _, run in groupby(range(len(windows)), lambda k: (windows[k].job, windows[k].window - k)):
            first, *rest = run
            number, count = windows[first].job, 1 + len(rest)
            if number not in self._files:
                continue  # another stretch of the video could not be read
            self._files[number].write(
                windows[first].window, {name: values[first : first + count] for name, values in rows.items()}
            )
            self._missing_rows[number] -= count
            if not self._missing_rows[number]:
                self._files.pop(number).finish(self.jobs[number].target, self.format)
                self.jobs[number].status = "done"

    def _give_up(self, found: Unreadable) -> None:
        job = self.jobs[found.number]
        job.status, job.reason, job.num_windows = "failed", found.reason, 0
        file = self._files.pop(found.number, None)
        if file is not None:
            file.discard()

    def _settings_hash(self, job: Job) -> str:
        """A hash of all that determines the contents of a job's file; the version of this package is left out."""
        settings = {name: value for name, value in self.metadata.items() if name not in ("vjepa", "checkpoint")}
        num_bytes = None if storage.is_remote(job.video.path) else job.version.num_bytes
        video = [job.video.start, job.video.end, num_bytes]
        return hashlib.sha256(json.dumps([settings, video], sort_keys=True).encode()).hexdigest()[:16]


def whole_percents(fractions: Iterable[float]) -> Iterator[int]:
    """Whole percents that each step adds."""
    done = 0.0
    for fraction in fractions:
        before, done = done, done + fraction
        yield round(100 * done) - round(100 * before)


def as_text(path: str) -> str:
    """A path as valid UTF-8; other bytes are replaced."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _only(stretches: list[Stretch | Unreadable]) -> Stretch | Unreadable:
    return stretches[0]
