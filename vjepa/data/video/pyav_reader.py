"""Frames by PyAV (libavcodec): exact on every kind of file that was tried, and the fastest.

Frames are found by their time, not by a count: seek to a keyframe, decode on, keep what is wanted. Frames that nothing
else refers to are not even decoded unless wanted, and crop, resize and conversion to RGB are one pass of libavfilter.
Where that does not find a frame (a keyframe that is none, lost leading frames) the plain way does: decode the file from
its start and count.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import av
import numpy as np

from vjepa.data.video.facts import (
    FileOrBytes,
    Orientation,
    Trait,
    VideoError,
    VideoFacts,
    opened,
    reason_of,
    scan_video,
)
from vjepa.data.video.transforms import CropBox

# Where a frame that no other refers to can be left out of decoding without an error (dav1d raises).
SKIPS_UNREFERENCED = frozenset(["h264", "hevc", "vp9"])
REORDERING = 32  # frames that a decoder may give out late; the standards allow 16


class PyAVReader:
    """A VideoReader over PyAV; every trait of a file is dealt with."""

    name = "pyav"

    def missing(self) -> str | None:
        return None

    def objection(self, facts: VideoFacts) -> str | None:
        return None

    def scan(self, source: FileOrBytes) -> VideoFacts:
        return scan_video(source)

    def decode(
        self,
        source: FileOrBytes,
        facts: VideoFacts,
        frame_ids: Sequence[int],  # T
        crop_box: CropBox | None = None,
        size: tuple[int, int] | None = None,  # height, width
    ) -> np.ndarray:  # (T, H, W, 3) uint8 RGB
        wanted = sorted(set(frame_ids))
        pictures: dict[int, np.ndarray] = {}
        with opened(source) as (container, stream):
            make = PictureMaker(facts, crop_box, size)
            if not facts.traits & {Trait.UNTIMED, Trait.RESIZED}:
                pictures = _found_by_time(container, stream, facts, wanted, make)
        if len(pictures) < len(wanted):
            pictures = decode_from_the_start(source, facts, wanted, crop_box, size)
        return np.stack([pictures[frame_id] for frame_id in frame_ids])


def decode_from_the_start(
    source: FileOrBytes,
    facts: VideoFacts,
    wanted: Sequence[int],  # ascending
    crop_box: CropBox | None = None,
    size: tuple[int, int] | None = None,
) -> dict[int, np.ndarray]:  # each (H, W, 3) uint8
    """The plain twin: frame n is the n-th that the decoder gives out. Raises VideoError where it gives out fewer."""
    pictures: dict[int, np.ndarray] = {}
    number = -1
    with opened(source) as (container, stream):
        make = PictureMaker(facts, crop_box, size)
        try:
            for number, frame in enumerate(container.decode(stream)):
                if number == wanted[len(pictures)]:
                    pictures[number] = make(frame)
                    if len(pictures) == len(wanted):
                        return pictures
        except (av.FFmpegError, ValueError) as error:
            raise VideoError(f"decoding stops after frame {number}: {reason_of(error)}") from error
    raise VideoError(f"frame {wanted[len(pictures)]} is past the last of {number + 1} frames")


def all_frames(source: FileOrBytes, facts: VideoFacts) -> Iterator[np.ndarray]:  # num_frames of (H, W, 3) uint8
    """Every frame, decoded from the start. Raises VideoError where the file breaks off."""
    with opened(source) as (container, stream):
        make = PictureMaker(facts, None, None)
        try:
            for frame in itertools.islice(container.decode(stream), facts.num_frames):
                yield make(frame)
        except (av.FFmpegError, ValueError) as error:
            raise VideoError(f"decoding breaks off: {reason_of(error)}") from error


def _found_by_time(
    container: Any, stream: Any, facts: VideoFacts, wanted: Sequence[int], make: "PictureMaker"
) -> dict[int, np.ndarray]:
    """Those of the wanted frames that seeking and decoding on finds; an error ends the search."""
    pictures: dict[int, np.ndarray] = {}
    try:
        for run in _runs(wanted, facts.keyframe_interval):
            # A first look skips what is not wanted; a second one starts a keyframe earlier and skips nothing.
            for start, skips in ((run[0], True), (max(0, run[0] - facts.keyframe_interval - REORDERING), False)):
                missing = {frame_id for frame_id in run if frame_id not in pictures}
                container.seek(int(facts.time_of(start) / stream.time_base), stream=stream)
                for number, frame in _decoded(container, stream, facts, missing, skips):
                    if number in missing and not frame.is_corrupt:
                        pictures[number] = make(frame)
                        missing.remove(number)
                    if not missing or number > max(missing) + REORDERING:
                        break
                if not missing:
                    break
    except (av.FFmpegError, ValueError):
        pass  # the plain way tells what is wrong
    return pictures


def _decoded(
    container: Any, stream: Any, facts: VideoFacts, wanted: set[int], skips: bool
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Frames from where the container stands, with their numbers."""
    decoder = stream.codec_context
    skips = skips and decoder.codec.canonical_name in SKIPS_UNREFERENCED
    time_base = float(stream.time_base)
    try:
        for packet in container.demux(stream):
            if skips and packet.pts is not None:
                decoder.skip_frame = "DEFAULT" if facts.frame_at(packet.pts * time_base) in wanted else "NONREF"
            for frame in packet.decode():
                if frame.pts is None:
                    return
                yield facts.frame_at(frame.pts * time_base), frame
    finally:
        decoder.skip_frame = "DEFAULT"


def _runs(wanted: Sequence[int], keyframe_interval: int) -> list[list[int]]:
    """Wanted frames in groups: within one, decoding on is no longer than from a new keyframe."""
    runs = [[wanted[0]]]
    for before, frame_id in itertools.pairwise(wanted):
        if frame_id - before > keyframe_interval:
            runs.append([])
        runs[-1].append(frame_id)
    return runs


class PictureMaker:
    """Turns decoded frames into RGB, cropped and resized as they are shown, by one filter graph per kind of frame."""

    def __init__(self, facts: VideoFacts, crop_box: CropBox | None, size: tuple[int, int] | None):
        self.orientation = facts.orientation
        self.may_resize = Trait.RESIZED in facts.traits
        shown = (facts.height, facts.width)
        self.coded_size = _turned(shown, self.orientation)
        self.crop_box = crop_box and _coded_box(crop_box, shown, self.orientation)
        self.size = size and _turned(size, self.orientation)
        self._graphs: dict[tuple, av.filter.Graph] = {}

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:  # (H, W, 3) uint8
        if (frame.height, frame.width) != self.coded_size and not self.may_resize:
            height, width = self.coded_size
            raise VideoError(f"frames are {frame.width}x{frame.height} and not {width}x{height} as found before")
        kind = (frame.width, frame.height, frame.format.name, int(frame.colorspace), int(frame.color_range))
        if kind not in self._graphs:
            self._graphs[kind] = self._graph(*kind)
        graph = self._graphs[kind]
        graph.push(frame)
        picture = graph.pull().to_ndarray()
        return np.ascontiguousarray(self.orientation.shown(picture[None])[0])

    def _graph(self, width: int, height: int, pixel_format: str, colorspace: int, color_range: int) -> av.filter.Graph:
        graph = av.filter.Graph()
        graph.threads = 1
        buffer = (
            f"video_size={width}x{height}:pix_fmt={pixel_format}:time_base=1/1000:"
            f"colorspace={colorspace}:range={color_range}"
        )
        steps = [graph.add("buffer", buffer)]
        size = self.size
        if (height, width) != self.coded_size:  # scaled to the first frame's size, as ffmpeg does
            if self.crop_box is None:
                size = size or self.coded_size
            else:
                steps.append(graph.add("scale", f"{self.coded_size[1]}:{self.coded_size[0]}:flags=bicubic"))
        if self.crop_box is not None:
            top, left, box_height, box_width = self.crop_box
            steps.append(graph.add("crop", f"{box_width}:{box_height}:{left}:{top}:exact=1"))
        # Where nothing is resized `bicubic` makes the same RGB as the ffmpeg command, to the bit.
        flags = "flags=bilinear" if self.size else "flags=bicubic"
        scale = f"{size[1]}:{size[0]}:{flags}" if size else flags
        steps += [graph.add("scale", scale), graph.add("format", "pix_fmts=rgb24"), graph.add("buffersink")]
        for before, after in itertools.pairwise(steps):
            before.link_to(after)
        graph.configure()
        return graph


def _turned(size: tuple[int, int], orientation: Orientation) -> tuple[int, int]:
    return size[::-1] if orientation.transposed else size


def _coded_box(box: CropBox, shown: tuple[int, int], orientation: Orientation) -> CropBox:
    """The box of a shown picture, in the picture as it is coded."""
    top = shown[0] - box.top - box.height if orientation.flipped_rows else box.top
    left = shown[1] - box.left - box.width if orientation.flipped_columns else box.left
    return CropBox(left, top, box.width, box.height) if orientation.transposed else CropBox(top, left, *box[2:])
