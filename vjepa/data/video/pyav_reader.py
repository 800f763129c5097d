"""Frames by PyAV (libavcodec): exact on every kind of file that was tried, and the fastest.

Frames are found by their time: seek to a keyframe and decode on. Unreferenced frames that are not wanted are not
decoded, and crop, resize and conversion to RGB are one pass of libavfilter. If that misses a frame (a false keyframe,
lost leading frames), the file is decoded from its start and frames are counted.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8

from vjepa.data.video.facts import FileOrBytes, Orientation, Trait, VideoError, VideoFacts, opened, reason_of
from vjepa.data.video.transforms import CropBox

# Codecs that decode without their unreferenced frames (dav1d raises).
SKIPS_UNREFERENCED = frozenset(["h264", "hevc", "vp9"])
REORDERING = 32  # frames by which a decoder's output may be late; the standards allow 16


class PyAVReader:
    """A VideoReader over PyAV; it handles every trait of a file."""

    name = "pyav"

    def missing(self) -> str | None:
        return None

    def objection(self, facts: VideoFacts) -> str | None:
        return None

    def decode(
        self,
        source: FileOrBytes,
        facts: VideoFacts,
        frame_ids: Sequence[int],
        crop_box: CropBox | None = None,
        size: tuple[int, int] | None = None,
    ) -> UInt8[np.ndarray, "T H W 3"]:
        wanted = sorted(set(frame_ids))
        frames: dict[int, np.ndarray] = {}
        if not facts.traits & {Trait.UNTIMED, Trait.RESIZED}:
            with opened(source) as (container, stream):
                frames = _found_by_time(container, stream, facts, wanted, FrameConverter(facts, crop_box, size))
        if len(frames) < len(wanted):
            frames = decode_from_the_start(source, facts, wanted, crop_box, size)
        return np.stack([frames[frame_id] for frame_id in frame_ids])


def decode_from_the_start(
    source: FileOrBytes,
    facts: VideoFacts,
    wanted: Sequence[int],  # ascending
    crop_box: CropBox | None = None,
    size: tuple[int, int] | None = None,
) -> dict[int, UInt8[np.ndarray, "H W 3"]]:
    """Frame n is the n-th that the decoder returns. Raises VideoError if there are fewer."""
    frames: dict[int, np.ndarray] = {}
    number = -1
    with opened(source) as (container, stream):
        convert = FrameConverter(facts, crop_box, size)
        try:
            for number, frame in enumerate(container.decode(stream)):
                if number == wanted[len(frames)]:
                    frames[number] = convert(frame)
                    if len(frames) == len(wanted):
                        return frames
        except (av.FFmpegError, ValueError) as error:
            raise VideoError(f"decoding stops after frame {number}: {reason_of(error)}") from error
    raise VideoError(f"frame {wanted[len(frames)]} is past the last of {number + 1} frames")


def all_frames(source: FileOrBytes, facts: VideoFacts) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Every frame, decoded from the start. Raises VideoError where the file breaks off."""
    with opened(source) as (container, stream):
        convert = FrameConverter(facts, None, None)
        try:
            yield from map(convert, itertools.islice(container.decode(stream), facts.num_frames))
        except (av.FFmpegError, ValueError) as error:
            raise VideoError(f"decoding breaks off: {reason_of(error)}") from error


def _found_by_time(
    container: Any, stream: Any, facts: VideoFacts, wanted: Sequence[int], convert: "FrameConverter"
) -> dict[int, UInt8[np.ndarray, "H W 3"]]:
    """The wanted frames that are found by seeking; an error ends the search."""
    frames: dict[int, np.ndarray] = {}
    try:
        for run in _runs(wanted, facts.keyframe_interval):
            # The first pass skips unwanted frames; the second starts a keyframe earlier and skips nothing.
            for start, skips in ((run[0], True), (max(0, run[0] - facts.keyframe_interval - REORDERING), False)):
                missing = set(run) - set(frames)
                container.seek(int(facts.time_of(start) / stream.time_base), stream=stream)
                for number, frame in _decoded(container, stream, facts, missing, skips):
                    if number in missing and not frame.is_corrupt:
                        frames[number] = convert(frame)
                        missing.remove(number)
                    if not missing or number > max(missing) + REORDERING:
                        break
                if not missing:
                    break
    except (av.FFmpegError, ValueError):
        pass  # decoding from the start reports what is wrong
    return frames


def _decoded(
    container: Any, stream: Any, facts: VideoFacts, wanted: set[int], skips: bool
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Frames from the container's position, with their numbers."""
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
    """Groups of wanted frames; within one, decoding on costs no more than seeking to another keyframe."""
    runs = [[wanted[0]]]
    for before, frame_id in itertools.pairwise(wanted):
        if frame_id - before > keyframe_interval:
            runs.append([])
        runs[-1].append(frame_id)
    return runs


class FrameConverter:
    """Converts decoded frames to RGB, cropped, resized and upright, by one filter graph per kind of frame."""

    def __init__(self, facts: VideoFacts, crop_box: CropBox | None, size: tuple[int, int] | None):
        self.orientation = facts.orientation
        self.may_resize = Trait.RESIZED in facts.traits
        shown = (facts.height, facts.width)
        self.coded_size = _turned(shown, self.orientation)
        self.crop_box = crop_box and _coded_box(crop_box, shown, self.orientation)
        self.size = size and _turned(size, self.orientation)
        self._graphs: dict[tuple[int, int, str, int, int], av.filter.Graph] = {}

    def __call__(self, frame: av.VideoFrame) -> UInt8[np.ndarray, "H W 3"]:
        if (frame.height, frame.width) != self.coded_size and not self.may_resize:
            height, width = self.coded_size
            raise VideoError(f"frames are {frame.width}x{frame.height} and not {width}x{height} as found before")
        kind = (frame.width, frame.height, frame.format.name, int(frame.colorspace), int(frame.color_range))
        if kind not in self._graphs:
            self._graphs[kind] = self._graph(*kind)
        graph = self._graphs[kind]
        graph.push(frame)
        return np.ascontiguousarray(self.orientation.shown(graph.pull().to_ndarray()))

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
        # If nothing is resized, `bicubic` gives the same RGB as the ffmpeg command, to the bit.
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
    """A box of the shown frame, in the frame as it is coded."""
    top = shown[0] - box.top - box.height if orientation.flipped_rows else box.top
    left = shown[1] - box.left - box.width if orientation.flipped_columns else box.left
    return CropBox(left, top, box.width, box.height) if orientation.transposed else CropBox(top, left, *box[2:])
