"""`vjepa transcode`: training copies that decode fast and in the same way everywhere.

H.264 in yuv420p, closed groups of 16 frames with three unreferenced B-frames, without the two tools that cost a decoder
most (`fastdecode`), upright, at an even rate, without sound, index first. docs/results.md has the speed.
"""

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePath

import av
import numpy as np
from jaxtyping import Int64, UInt8

from vjepa.data.atomic_file import new_file, write_table
from vjepa.data.manifest.annotations import COLUMNS
from vjepa.data.manifest.killable_pool import Lost, map_killable
from vjepa.data.manifest.manifest import read_manifest
from vjepa.data.manifest.pair_layouts import PAIR_COLUMNS
from vjepa.data.manifest.writing import FOUND_COLUMNS, found_columns, listed_columns, scan_files
from vjepa.data.progress import report_progress
from vjepa.data.video.facts import FileOrBytes, VideoError, VideoFacts, opened, reason_of, scan_video
from vjepa.data.video.image_reader import IMAGE_SUFFIXES, ImageReader, scan_image
from vjepa.data.video.pyav_reader import FrameConverter
from vjepa.data.video.storage import fetch, is_clutter, is_remote, version_of
from vjepa.processors import count_processors

GROUP = 16  # frames from keyframe to keyframe


@dataclass(frozen=True)
class TranscodeTask:
    source: str
    target: str
    short_side: int | None
    crf: int
    preset: str
    fps: float | None
    frames_fps: float


def transcode(
    manifest: str,
    output: Path,
    root: str | None = None,
    split: str | None = None,
    short_side: int | None = 256,
    crf: int = 25,
    preset: str = "veryfast",
    fps: float | None = None,
    frames_fps: float = 12.0,
    num_workers: int | None = None,
    time_limit: float = 3600.0,
) -> None:
    """Make training copies of a manifest's videos, and a manifest of them (`manifest.csv` in the same folder).

    Frames keep their number and order. Uneven times become even, at the file's mean rate; `fps` resamples by time
    instead, which changes the number of frames. Copies that are newer than their originals are kept, so an interrupted
    call resumes.

    Args:
        manifest: CSV, Parquet or list file, or a folder; a path may also be a folder of numbered images (one video).
        output: folder for the copies, laid out as the originals are.
        root: folder that the manifest's paths are relative to.
        split: only rows of this split.
        short_side: pixels of the shorter side, to which larger videos are scaled down; None keeps all sizes.
        crf: x264's quality; less is better and larger.
        preset: x264's effort.
        fps: frames per second of the copies; those of the originals if None.
        frames_fps: frames per second of folders of images.
        num_workers: processes; one per processor if None.
        time_limit: seconds for one file.
    """
    if short_side is not None and short_side < 2:
        raise ValueError(f"short_side ({short_side}) must be at least 2 pixels")
    for name, rate in {"fps": fps, "frames_fps": frames_fps}.items():
        if rate is not None and not rate > 0:
            raise ValueError(f"{name} ({rate}) must be more than 0")
    listed = read_manifest(manifest, root, split, ["label", *PAIR_COLUMNS])
    paths = list(listed.paths)
    targets = _targets(paths, output)
    tasks = [
        TranscodeTask(path, str(target), short_side, crf, preset, fps, frames_fps)
        for path, target in targets.items()
        if not _is_newest(target, path)
    ]
    for target in targets.values():
        target.parent.mkdir(parents=True, exist_ok=True)
    workers = count_processors() if num_workers is None else num_workers
    failed = {}
    for number, result in report_progress(
        map_killable(write_copy, tasks, workers, time_limit), len(tasks), f"copies in {output}"
    ):
        reason = result.reason if isinstance(result, Lost) else result
        if reason:
            failed[tasks[number].source] = reason
    made = [row for row, path in enumerate(paths) if path not in failed]
    if not made:
        raise ValueError(f"no file could be copied, the first is {paths[0]}: {failed[paths[0]]}")
    reports = scan_files([str(targets[paths[row]]) for row in made], num_workers, time_limit)
    rows = []
    for row, report in zip(made, reports, strict=True):
        path = str(targets[paths[row]].relative_to(output))
        rows.append({"path": path, **listed_columns(listed, row), **found_columns(report)})
    of_pairs = [column for column in PAIR_COLUMNS if any(row[column] for row in rows)]
    write_table(output / "manifest.csv", [*COLUMNS, *of_pairs, *FOUND_COLUMNS], rows)
    print(f"{output / 'manifest.csv'}: {len(rows)} copies")
    if failed:
        failures = [{"path": path, "reason": reason} for path, reason in failed.items()]
        write_table(output / "failed.csv", ["path", "reason"], failures)
        print(f"{output / 'failed.csv'}: {len(failed)} files that could not be copied")


def _is_newest(copy: Path, original: str) -> bool:
    return copy.exists() and (version_of(original).modified or 0.0) <= copy.stat().st_mtime


def write_copy(task: TranscodeTask) -> str:
    """Make one copy. Returns why it failed, or an empty text."""
    try:
        if Path(task.source).is_dir():
            _encode(_numbered_images(task), Fraction(task.frames_fps).limit_denominator(1001), task)
        else:
            source = fetch(task.source)
            facts = scan_video(source)
            _encode(_frames(source, facts, task), Fraction(task.fps or facts.fps).limit_denominator(1001), task)
    except VideoError as error:
        return str(error)
    except (av.FFmpegError, OSError, ValueError) as error:
        return reason_of(error)
    return ""


def _frames(source: FileOrBytes, facts: VideoFacts, task: TranscodeTask) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """All frames, upright and scaled; with `fps`, those shown at its ticks."""
    size = _size_of_copy(facts.height, facts.width, task.short_side)
    make = FrameConverter(facts, None, size if size != (facts.height, facts.width) else None)
    repeats = None if task.fps is None else np.bincount(_shown_at_ticks(facts, task.fps), minlength=facts.num_frames)
    with opened(source) as (container, stream):
        for number, frame in enumerate(container.decode(stream)):
            times = 1 if repeats is None else repeats[number] if number < len(repeats) else 0
            if times:
                yield from itertools.repeat(make(frame), times)


def _shown_at_ticks(facts: VideoFacts, fps: float) -> Int64[np.ndarray, " ticks"]:
    ticks = np.arange(max(1, round(facts.duration * fps))) / fps
    times = np.arange(facts.num_frames) / facts.fps if facts.times is None else facts.times - facts.times[0]
    return np.searchsorted(times, ticks + 1e-6, side="right") - 1


def _numbered_images(task: TranscodeTask) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    images = (file for file in Path(task.source).iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    files = sorted(file for file in images if not is_clutter(file.name))
    reader = ImageReader()
    size = None
    for file in files:
        facts = scan_image(str(file))
        size = size or _size_of_copy(facts.height, facts.width, task.short_side)
        yield reader.decode(str(file), facts, [0], None, size)[0]


def _encode(frames: Iterator[np.ndarray], rate: Fraction, task: TranscodeTask) -> None:
    groups = f"keyint={GROUP}:min-keyint={GROUP}:scenecut=0:open-gop=0:bframes=3:b-adapt=0:b-pyramid=none"
    coding = {"crf": str(task.crf), "preset": task.preset, "tune": "fastdecode", "x264-params": groups}
    with (
        new_file(Path(task.target)) as temporary,
        av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"}) as container,
    ):
        stream = None
        for number, picture in enumerate(frames):
            if stream is None:
                stream = container.add_stream("libx264", rate=rate, options=coding)
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.codec_context.thread_count = 1
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        if stream is None:
            raise VideoError("the file has no frames")
        container.mux(stream.encode(None))


def _size_of_copy(height: int, width: int, short_side: int | None) -> tuple[int, int]:
    """Even numbers of pixels, the shorter side at most `short_side`."""
    scale = min(1.0, short_side / min(height, width)) if short_side else 1.0
    return max(2, round(height * scale / 2) * 2), max(2, round(width * scale / 2) * 2)


def _targets(paths: list[str], output: Path) -> dict[str, Path]:
    """The copy of each original, with the originals' folders below their common one."""
    names = [path.partition("://")[2] if is_remote(path) else str(Path(path).absolute()) for path in paths]
    common = os.path.commonpath([str(PurePath(name).parent) for name in names])
    targets: dict[str, Path] = {}
    taken: set[Path] = set()
    for path, name in zip(paths, names, strict=True):
        if path in targets:
            continue
        target = output / PurePath(name).relative_to(common).with_suffix(".mp4")
        if target in taken:  # a.avi beside a.mp4
            target = target.with_name(f"{PurePath(name).name}.mp4")
        targets[path] = target
        taken.add(target)
    return targets
