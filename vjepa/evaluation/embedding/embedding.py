"""Features of whole videos: windows one after another through an encoder, one file for each video (`vjepa embed`)."""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path, PurePath
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

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
from vjepa.data.manifest.listings import VIDEO_SUFFIXES
from vjepa.data.manifest.manifest import ROOT_VARIABLE, read_manifest
from vjepa.data.progress import count_processors, report_progress
from vjepa.data.video import storage
from vjepa.data.video.image_reader import IMAGE_SUFFIXES
from vjepa.data.video.reader import ReaderChain, ReaderName
from vjepa.evaluation.embedding.feature_file import Array, FeatureFile, FileFormat, read_metadata
from vjepa.evaluation.probes.frozen_evaluation import device_of
from vjepa.evaluation.probes.frozen_features import EncoderFeatures
from vjepa.evaluation.probes.probe import Precision, autocast
from vjepa.interop.load_encoder import LoadedEncoder
from vjepa.interop.portable import Preprocessing

FeatureKind = Literal["pooled", "dense"]
VIDEOS_AT_ONCE = 256  # that may be begun and not yet done
MOST_WORKERS = 16  # where nobody says how many
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
    """Write a feature file for each video, and `index.csv`. What is there with the same settings is kept.

    Args:
        sources: videos, images, folders of them, and manifests.
        encoder: makes the features, and says how clips are cut.
        output: folder of the feature files, laid out as the videos are.
        features: "pooled" is the mean of a window's tokens, "dense" all of them.
        levels: blocks whose tokens are written, from 0, each as `level_{k}`; the encoder's output, `features`, if None.
        stride: from one window's start to the next, as a share of a window: 1 is back to back, 0.5 half overlapping.
        max_windows: of a video; where it has more, so many of them, spread evenly.
        num_frames: frames of a window; as the encoder was trained, as all that follow, if None.
        fps: frames per second of a window.
        frame_step: or frames of the file from one frame of a window to the next.
        crop_size: height and width of a window in pixels.
        root: folder that a manifest's paths are relative to.
        split: only rows of this split of a manifest.
        format: of the files.
        dtype: of the features in them.
        batch_size: windows that are encoded at once.
        num_workers: decoding processes; one per processor, at most 16, if None.
        accelerator: as for Lightning's trainer.
        precision: in which the encoder computes.
        readers: order in which they are asked. Pixels are the same; decord reads the whole file for every few windows.
        decode_time_limit: seconds after which a reader that does not come back is left behind.

    Raises:
        ValueError: a source is not there, settings do not fit, or not one video can be read.
    """
    started = time.monotonic()
    if batch_size < 1:
        raise ValueError(f"batch_size ({batch_size}) must be at least 1")
    preprocessing = changed(encoder.preprocessing, num_frames, fps, frame_step, crop_size)
    frames = FrameSampling(preprocessing.num_frames, preprocessing.fps, preprocessing.frame_step)
    windows = SlidingWindows(frames, stride, max_windows)
    readers_in_order = ReaderChain(readers, decode_time_limit)
    jobs = [
        Job(video, output, f"{name}.{format}", storage_size(video.path))
        for name, video in videos_of(sources, root, split).items()
    ]
    device = device_of(accelerator)
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
    kept = embedding.keep_what_is_done()
    if kept < len(jobs):
        what = f"features of {len(jobs) - kept} videos in {output}, in percent"
        for _ in report_progress(whole_percents(embedding.run()), 100, what, size_of=int):
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


def changed(
    preprocessing: Preprocessing,
    num_frames: int | None,
    fps: float | None,
    frame_step: float | None,
    crop_size: tuple[int, int] | None,
) -> Preprocessing:
    """With what is given in place of its own; a rate of one kind drops one of the other."""
    if num_frames is not None:
        preprocessing = replace(preprocessing, num_frames=num_frames)
    if fps is not None or frame_step is not None:
        preprocessing = replace(preprocessing, fps=fps, frame_step=frame_step)
    if crop_size is not None:
        preprocessing = replace(preprocessing, crop_size=crop_size)
    return preprocessing


class WindowEncoder(nn.Module):
    """Windows to what is written of them, without gradient. Raises ValueError where windows or levels do not fit.

    Args:
        loaded: the encoder.
        preprocessing: how windows are cut.
        features: "pooled" or "dense".
        levels: blocks whose tokens are asked for; the encoder's output if None.
        device: to compute on.
        precision: in which.
    """

    def __init__(
        self,
        loaded: LoadedEncoder,
        preprocessing: Preprocessing,
        features: FeatureKind,
        levels: Sequence[int] | None,
        device: torch.device,
        precision: Precision,
    ):
        super().__init__()
        height, width = preprocessing.crop_size
        clip = torch.empty(1, 3, preprocessing.num_frames, height, width, device="meta")
        self.grid = loaded.encoder.grid_of(clip)
        self.loaded = loaded.to(device).eval()
        self.features = features
        self.levels = sorted(set(levels)) if levels else None
        self.device = device
        self.precision = precision
        if self.levels is not None:  # a single token tells whether they exist, before anything is decoded
            self(torch.zeros(1, 3, *loaded.encoder.tubelet, dtype=torch.uint8))

    @property
    def names(self) -> list[str]:
        return ["features"] if self.levels is None else [f"level_{level}" for level in self.levels]

    @property
    def window_shape(self) -> tuple[int, ...]:
        """Of one window's features."""
        width = self.loaded.encoder.embed_dim
        return (width,) if self.features == "pooled" else (self.grid.num_tokens, width)

    @torch.inference_mode()
    def forward(
        self,
        windows: Tensor,  # (B, 3, T, H, W) uint8
    ) -> dict[str, Tensor]:  # by name, each (B, D) or (B, N, D) float32 on the CPU
        windows = windows.to(self.device)
        with autocast(self.device, self.precision):
            tokens = [self.loaded(windows)] if self.levels is None else self.loaded.levels(windows, self.levels)
        found = [each.float() if self.features == "dense" else each.float().mean(dim=1) for each in tokens]
        return {name: each.cpu() for name, each in zip(self.names, found, strict=True)}

    def fingerprint(self) -> str:
        """A hash of the weights, and of what changes features beside them."""
        return EncoderFeatures("encoder", self.loaded.encoder, self.levels).fingerprint()


@dataclass
class Job:
    """A video and what becomes of it."""

    video: Video
    output: Path  # folder of all feature files
    name: str  # of its own, below that folder
    num_bytes: int | None  # of the video; None where it is not on a disk
    status: Literal["", "done", "failed"] = ""
    reason: str = ""
    num_windows: int = 0
    seconds: float = 0.0  # from the first window's start to the last one's end

    @property
    def target(self) -> Path:
        return self.output / self.name

    def row(self) -> dict[str, Any]:
        """Its line of `index.csv`."""
        start, end = ("" if second is None else second for second in self.video[1:])
        row = {"path": self.video.path, "start": start, "end": end, "status": self.status, "reason": self.reason}
        if self.status == "done":
            row |= {"output": self.name, "windows": self.num_windows, "seconds": round(self.seconds, 3)}
        return row


class _Window(NamedTuple):
    """A window that waits for its batch."""

    job: int
    window: int
    pixels: Tensor  # (3, T, H, W) uint8


@dataclass
class Embedding:
    """Decodes, encodes and writes.

    Args:
        jobs: videos and their files.
        network: makes the features.
        dataset: decodes.
        metadata: of all files; features with other metadata are made anew.
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
    _files: dict[int, FeatureFile] = field(default_factory=dict, init=False)  # not yet done, by the job's number
    _missing_rows: dict[int, int] = field(default_factory=dict, init=False)

    def keep_what_is_done(self) -> int:
        """Mark jobs whose file was made of the same video with the same settings; returns how many."""
        kept = [job for job in self.jobs if read_metadata(job.target).get("settings") == self._settings_of(job)]
        for job in kept:
            metadata = read_metadata(job.target)
            job.status, job.num_windows, job.seconds = "done", int(metadata["windows"]), float(metadata["seconds"])
        return len(kept)

    def run(self) -> Iterator[float]:
        """Do what is not done, and say after each step which share of the videos' bytes it was."""
        numbers = [number for number, job in enumerate(self.jobs) if not job.status]
        total = sum(self.jobs[number].num_bytes or 1 for number in numbers)
        left = {number: (self.jobs[number].num_bytes or 1) / total for number in numbers}  # shares not yet told
        waiting: list[_Window] = []
        with tempfile.TemporaryDirectory(prefix=".unfinished_", dir=self.jobs[0].output) as scratch:
            for stretch in self._stretches(numbers):
                share = left[stretch.number]
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
                    share *= len(stretch.places) / (self.jobs[stretch.number].num_windows - stretch.first_window)
                left[stretch.number] -= share
                yield share
            if waiting:
                self._encode(waiting)

    def _stretches(self, numbers: list[int]) -> Iterator[Stretch | Unreadable]:
        """All stretches of these jobs: of some videos the first ones, which tell how many there are, then the others.

        So many short videos keep all workers busy, and so does a single long one.
        """
        for start in range(0, len(numbers), VIDEOS_AT_ONCE):
            some = numbers[start : start + VIDEOS_AT_ONCE]
            others: list[StretchKey] = []
            for stretch in self._decoded(StretchKey(number, self.jobs[number].video) for number in some):
                if isinstance(stretch, Stretch):
                    key = StretchKey(stretch.number, self.jobs[stretch.number].video, 0, stretch.plan)
                    others += [key._replace(stretch=place) for place in range(1, len(stretch.plan.stretches))]
                yield stretch
            if others:
                # Of a video with a stretch that can't be read, no others are decoded.
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
            "settings": self._settings_of(job),
            "video": as_text(job.video.path),
            "windows": str(job.num_windows),
            "seconds": repr(job.seconds),
        }
        part = scratch / str(stretch.number)
        self._files[stretch.number] = FeatureFile(part, whole, dict.fromkeys(self.network.names, layout), metadata)
        self._missing_rows[stretch.number] = job.num_windows

    def _encode(self, windows: list[_Window]) -> None:
        found = self.network(torch.stack([window.pixels for window in windows]))
        rows = {name: values.numpy().astype(self.metadata["dtype"], copy=False) for name, values in found.items()}
        # Windows of a video that follow each other are written in one piece.
        for _, places in groupby(
            range(len(windows)), lambda place: (windows[place].job, windows[place].window - place)
        ):
            first, *rest = places
            number, count = windows[first].job, 1 + len(rest)
            if number not in self._files:
                continue  # another stretch of it could not be read
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

    def _settings_of(self, job: Job) -> str:
        """A hash of all that decides what is in a job's file; another version of this package changes nothing."""
        settings = {name: value for name, value in self.metadata.items() if name not in ("vjepa", "checkpoint")}
        of_video = [job.video.start, job.video.end, job.num_bytes]
        return hashlib.sha256(json.dumps([settings, of_video], sort_keys=True).encode()).hexdigest()[:16]


def videos_of(
    sources: Sequence[str],
    root: str | None = None,
    split: str | None = None,
) -> dict[str, Video]:
    """What sources list, by names of their own that hardly ever depend on what else is listed.

    A name is the path below the source's folder, a manifest's `root` or $VJEPA_DATA, or else the whole path, and the
    seconds where only part of a file is meant.
    """
    videos: dict[str, Video] = {}
    for source in map(str, sources):
        for video, bases in _listed(source, root, split):
            name = _name_of(video, bases)
            if videos.get(name, video) != video:  # a/1.mp4 and b/1.mp4 of two folders
                name = _name_of(video, [])
            videos[name] = video
    return videos


def _listed(source: str, root: str | None, split: str | None) -> Iterator[tuple[Video, list[str]]]:
    """Videos, with the folders that names may be relative to."""
    if PurePath(source).suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES and not storage.is_folder(source):
        if not storage.exists(source):
            raise ValueError(f"there is no file {source}; give videos, folders of videos, or manifests")
        yield Video(source), [storage.parent(source)]
        return
    manifest = read_manifest(source, root, split)
    folder = source if storage.is_folder(source) else storage.parent(source)
    bases = [folder, *filter(None, [root, os.environ.get(ROOT_VARIABLE)])]
    for row, path in enumerate(manifest.paths):
        yield Video(path, *manifest.window(row)), bases


def _name_of(video: Video, bases: Sequence[str]) -> str:
    whole = _whole(video.path)
    inside = [whole.removeprefix(f"{_whole(base)}/") for base in bases if whole.startswith(f"{_whole(base)}/")]
    name = inside[0] if inside else whole.partition("://")[2] if storage.is_remote(whole) else whole.lstrip("/")
    if video.start is None and video.end is None:
        return name
    start, end = video.start or 0.0, "end" if video.end is None else f"{round(video.end, 3)}s"
    return f"{name}.{round(start, 3)}s-{end}"


def _whole(path: str) -> str:
    return path.rstrip("/") if storage.is_remote(path) else os.path.abspath(path)


def storage_size(path: str) -> int | None:
    """Bytes of a file on a disk; None of one that is elsewhere or not there."""
    try:
        return None if storage.is_remote(path) else os.path.getsize(path)
    except OSError:
        return None


def whole_percents(shares: Iterable[float]) -> Iterator[int]:
    """How many more whole percent are done after each step."""
    done = 0.0
    for share in shares:
        before, done = done, done + share
        yield round(100 * done) - round(100 * before)


def as_text(path: str) -> str:
    """A path that any reader of text takes; bytes that are no text are replaced."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _only(stretches: list[Stretch | Unreadable]) -> Stretch | Unreadable:
    return stretches[0]
