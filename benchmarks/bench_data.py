"""Processor time per clip: our readers against the released V-JEPA 2 pipeline, on the same files, frames and crops.

    python benchmarks/bench_data.py [--source video.mp4] [--files a.mp4 b.mkv ...] [--sizes 340x256 ...] [--rounds 7]

Variants run interleaved, in a new random order in each round, with one start per file and round, spread evenly over the
file; a figure is the median over rounds of the ratio within a round. Time is processor time of the whole process, all
threads counted. `--source` is re-encoded to the sizes and keyframe intervals below (without it, a made-up picture is);
`--files` stay as they are. What a scan finds out of a file is known beforehand, as it is from a manifest of `vjepa
manifest`; its cost is shown.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import torch

# isort: split
import decord

from vjepa.data.clips.frame_sampling import FrameSampling
from vjepa.data.manifest.transcode import TranscodeTask, write_copy
from vjepa.data.video.decord_reader import DecordReader
from vjepa.data.video.facts import Trait, VideoFacts, opened, scan_video
from vjepa.data.video.pyav_reader import SKIPS_UNREFERENCED, PyAVReader
from vjepa.data.video.transforms import CropBox, channels_first, crop_resize, random_crop_box

SIZES = {"340x256": (340, 256), "1280x720": (1280, 720), "1920x1080": (1920, 1080)}
KEYFRAME_INTERVALS = (12, 60, 250)
SECONDS = 10
CLIP = FrameSampling(num_frames=16, frame_step=4)
CROP = (256, 256)
MEAN, STD = (torch.tensor(values).view(3, 1, 1, 1) * 255 for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def reference(path: str, frame_ids: np.ndarray, box: CropBox, flip: bool) -> torch.Tensor:  # (3, T, H, W) float32
    """The released pipeline as its source does it: whole frames, as floats, then crop, resize, flip, normalise."""
    video = decord.VideoReader(path, num_threads=-1, ctx=decord.cpu(0))
    video.seek(0)
    return reference_transform(video.get_batch(frame_ids.tolist()).asnumpy(), box, flip)


def reference_transform(frames: np.ndarray, box: CropBox, flip: bool) -> torch.Tensor:
    clip = torch.tensor(frames, dtype=torch.float32).permute(3, 0, 1, 2)
    clip = clip[:, :, box.top : box.top + box.height, box.left : box.left + box.width]
    clip = torch.nn.functional.interpolate(clip, size=CROP, mode="bilinear", align_corners=False)
    if flip:
        clip = clip.flip(-1)
    return (clip - MEAN) / STD


def ours(reader: DecordReader | PyAVReader) -> Callable:
    def cut(path: str, facts: VideoFacts, frame_ids: np.ndarray, box: CropBox, flip: bool) -> np.ndarray:
        return channels_first(reader.decode(path, facts, frame_ids.tolist(), box, CROP), flip)

    return cut


def decode_only(path: str, facts: VideoFacts, frame_ids: np.ndarray) -> None:
    """The floor of the PyAV path: open, seek, decode what is wanted and what it needs; no picture is made."""
    wanted = set(frame_ids.tolist())
    with opened(path) as (container, stream):
        decoder, time_base = stream.codec_context, float(stream.time_base)
        container.seek(int(facts.time_of(min(wanted)) / time_base), stream=stream)
        skips = decoder.codec.canonical_name in SKIPS_UNREFERENCED
        for packet in container.demux(stream):
            if skips and packet.pts is not None:
                decoder.skip_frame = "DEFAULT" if facts.frame_at(packet.pts * time_base) in wanted else "NONREF"
            for frame in packet.decode():
                wanted.discard(facts.frame_at(frame.pts * time_base))
            if not wanted:
                return


def processor_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(files: dict[str, str], copies: dict[str, str], rounds: int) -> dict[str, dict[str, float]]:
    """For each file: median ratios of the reference's time to a variant's, and milliseconds for scale."""
    facts = {name: scan_video(path) for name, path in files.items()}
    facts_of_copies = {name: scan_video(path) for name, path in copies.items()}
    generator = np.random.default_rng(0)
    ratios: dict[str, dict[str, list[float]]] = {name: {} for name in files}
    # Starts are spread evenly over a file: what a clip costs depends on how far it is from a keyframe.
    starts = {name: (generator.permutation(rounds) + generator.random(rounds)) / rounds for name in files}
    for round_number in range(-1, rounds):  # the first one warms up
        for name, path in files.items():
            known = facts[name]
            frame_ids = CLIP.frame_ids(known, float(starts[name][round_number]))
            box = random_crop_box((known.height, known.width), (0.3, 1.0), (0.75, 1.35), generator)
            flip = bool(generator.random() < 0.5)
            frames = DecordReader().decode(path, known, frame_ids.tolist())
            variants = {
                "reference": lambda p=path, i=frame_ids, b=box, f=flip: reference(p, i, b, f),
                "decord": lambda p=path, k=known, i=frame_ids, b=box, f=flip: ours(DecordReader())(p, k, i, b, f),
                "pyav": lambda p=path, k=known, i=frame_ids, b=box, f=flip: ours(PyAVReader())(p, k, i, b, f),
                "floor": lambda p=path, k=known, i=frame_ids: decode_only(p, k, i),
                "reference transform": lambda x=frames, b=box, f=flip: reference_transform(x, b, f),
                "transform": lambda x=frames, b=box, f=flip: channels_first(crop_resize(x, b, CROP), f),
                "scan": lambda p=path: scan_video(p),
            }
            if name in copies:
                copy, of_copy = copies[name], facts_of_copies[name]
                scaled = _scaled(box, known, of_copy)
                for reader in (DecordReader(), PyAVReader()):
                    variants[f"copy, {reader.name}"] = (
                        lambda r=reader, p=copy, k=of_copy, i=frame_ids, b=scaled, f=flip: ours(r)(p, k, i, b, f)
                    )
            seconds = {}
            for variant in generator.permutation(list(variants)):
                seconds[str(variant)] = processor_seconds(variants[str(variant)])
            if round_number < 0:
                continue
            found = {
                "reference ms": 1000 * seconds["reference"],
                "decord": seconds["reference"] / seconds["decord"],
                "pyav": seconds["reference"] / seconds["pyav"],
                "pyav of floor": seconds["floor"] / seconds["pyav"],
                "transform": seconds["transform"] / seconds["reference transform"],
                "scan ms": 1000 * seconds["scan"],
            }
            found |= {key: seconds["reference"] / seconds[key] for key in seconds if key.startswith("copy")}
            for key, value in found.items():
                ratios[name].setdefault(key, []).append(value)
    return {name: {key: statistics.median(values) for key, values in of.items()} for name, of in ratios.items()}


def _scaled(box: CropBox, facts: VideoFacts, copy: VideoFacts) -> CropBox:
    down, across = copy.height / facts.height, copy.width / facts.width
    height = max(1, min(copy.height, round(box.height * down)))
    width = max(1, min(copy.width, round(box.width * across)))
    top, left = round(box.top * down), round(box.left * across)
    return CropBox(min(top, copy.height - height), min(left, copy.width - width), height, width)


def encode(frames: list[np.ndarray], path: Path, size: tuple[int, int], keyframe_interval: int) -> None:
    """x264's defaults but for the keyframe interval, 30 frames per second."""
    with av.open(str(path), "w") as container:
        groups = f"keyint={keyframe_interval}:min-keyint={keyframe_interval}:scenecut=0:open-gop=0"
        stream = container.add_stream("libx264", rate=30, options={"crf": "23", "x264-params": groups})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for number, frame in enumerate(frames):
            picture = cv2.resize(
                frame, size, interpolation=cv2.INTER_AREA if frame.shape[1] > size[0] else cv2.INTER_CUBIC
            )
            shown = av.VideoFrame.from_ndarray(picture, format="rgb24")
            shown.pts, shown.time_base = number, Fraction(1, 30)
            container.mux(stream.encode(shown))
        container.mux(stream.encode(None))


def frames_of(source: str | None) -> list[np.ndarray]:
    """Ten seconds of a video, forth and back where it is shorter; without one, of shapes that move over a texture."""
    count = 30 * SECONDS
    if source is not None:
        facts = scan_video(source)
        shown = min(count, facts.num_frames)
        frames = list(PyAVReader().decode(source, facts, range(shown)))
        return [frames[min(k % (2 * shown), 2 * shown - 1 - k % (2 * shown))] for k in range(count)]
    generator = np.random.default_rng(0)
    texture = cv2.GaussianBlur(generator.integers(0, 255, (512, 1024, 3), dtype=np.uint8), (0, 0), 3)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    frames = []
    for k in range(count):
        frame = np.ascontiguousarray(np.roll(texture, -2 * k, axis=1)[:360, :640])
        for shape in range(6):
            centre = (int(320 + 250 * np.sin(0.03 * k * (shape + 1))), int(180 + 130 * np.cos(0.04 * k + shape)))
            cv2.circle(frame, centre, 20 + 6 * shape, tuple(int(40 * shape + c) for c in (20, 80, 140)), -1)
        grain = generator.integers(-6, 7, frame.shape, dtype=np.int16)
        frames.append(np.clip(frame + grain, 0, 255).astype(np.uint8))
    return frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", help="video that is re-encoded to all sizes")
    parser.add_argument("--files", nargs="*", default=[], help="videos that are measured as they are")
    parser.add_argument("--sizes", nargs="*", choices=list(SIZES), default=list(SIZES), help="of the re-encoded video")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    decord.logging.set_level(decord.logging.QUIET)
    with tempfile.TemporaryDirectory() as folder:
        frames = frames_of(arguments.source)
        files, copies = {}, {}
        for size_name in arguments.sizes:
            size = SIZES[size_name]
            for interval in KEYFRAME_INTERVALS:
                name = f"{size_name}, keyframe every {interval}"
                files[name] = str(Path(folder) / f"{size_name}_{interval}.mp4")
                encode(frames, Path(files[name]), size, interval)
            copies[name] = str(Path(folder) / f"{size_name}_copy.mp4")  # of the longest interval
            if reason := write_copy(TranscodeTask(files[name], copies[name], 256, 25, "veryfast", None, 12.0)):
                raise SystemExit(f"no copy of {name}: {reason}")
        files |= {Path(path).name: path for path in arguments.files}
        usable = {name: path for name, path in files.items() if Trait.VARIABLE_RATE not in scan_video(path).traits}
        report(measure(usable, copies, arguments.rounds))


def report(found: dict[str, dict[str, float]]) -> None:
    columns = ["reference ms", "decord", "pyav", "pyav of floor", "transform", "scan ms", "copy, decord", "copy, pyav"]
    print("| file | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    groups = {"340x256 class": [], "720p and 1080p": []}
    for name, values in found.items():
        print(f"| {name} | " + " | ".join(f"{values[c]:.2f}" if c in values else "" for c in columns) + " |")
        is_small = not name.startswith(("1280", "1920"))
        groups["340x256 class" if is_small else "720p and 1080p"].append(values)
    for group, members in groups.items():
        if not members:
            continue
        means = {c: [values[c] for values in members if c in values] for c in columns}
        print(
            f"| **{group}, geometric mean** | "
            + " | ".join(f"**{statistics.geometric_mean(means[c]):.2f}**" if means[c] else "" for c in columns)
            + " |"
        )
    clip = np.prod((3, CLIP.num_frames, *CROP))
    print(
        f"\nbytes of a clip from worker to trainer: {4 * clip / 2**20:.1f} MiB (reference) and {clip / 2**20:.1f} MiB"
    )


if __name__ == "__main__":
    main()
