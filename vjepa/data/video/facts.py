"""Facts of a video file, from a scan of its packets: frames, rate, size, and traits that mislead some readers.

A scan reads the file's packets (PyAV) and decodes its first frame. If each packet has its own presentation time and the
first is a keyframe, packets are counted; otherwise every frame is decoded once, so that `num_frames` can be decoded.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple

import av
import numpy as np
from jaxtyping import Float64, UInt8

FileOrBytes = str | bytes  # a path, or the content of a file
DEFAULT_FPS = 25.0  # of files without a rate and times, as ffmpeg assumes

# Each packet is one frame, shown at its own time. VP8 hides frames among its packets, MPEG-4 in AVI packs two in one,
# interlaced pictures come in halves: there packets can't be counted for frames.
ONE_FRAME_PER_PACKET = frozenset(["h264", "hevc", "vp9", "av1", "vvc", "mjpeg", "png", "gif", "prores", "ffv1"])


class VideoError(Exception):
    """A file or a frame of it can't be decoded; the message says why, without the path."""


class Trait(StrEnum):
    """A property of a file that a reader must handle to return the right frames."""

    EDIT_LIST = "edit_list"  # some packets are decoded but not shown
    OPEN_GOP = "open_gop"  # frames after a keyframe are shown before it, and refer to frames before it
    VARIABLE_RATE = "variable_rate"  # frame times are not evenly spaced
    UNTIMED = "untimed"  # frames have no times: they must be counted from the start
    REORDERED = "reordered"  # frames are stored in another order than they are shown (B-frames)
    HIDDEN_FRAMES = "hidden_frames"  # more packets than frames, or fewer
    DAMAGED = "damaged"  # decoding stops at an error; `num_frames` counts the frames before it
    RESIZED = "resized"  # the size of frames changes in mid-stream


class Orientation(NamedTuple):
    """From coded to shown pixels: transpose, then mirror."""

    transposed: bool = False
    flipped_rows: bool = False
    flipped_columns: bool = False

    @property
    def is_mirrored(self) -> bool:
        return bool(self.transposed ^ self.flipped_rows ^ self.flipped_columns)

    def shown(self, frame: UInt8[np.ndarray, "H W C"]) -> UInt8[np.ndarray, "H2 W2 C"]:
        if self.transposed:
            frame = frame.swapaxes(0, 1)
        return frame[:: -1 if self.flipped_rows else 1, :: -1 if self.flipped_columns else 1]


UPRIGHT = Orientation()


@dataclass(frozen=True)
class VideoFacts:
    """The video stream of a file that ffmpeg would choose."""

    num_frames: int  # shown, and decodable
    fps: float  # mean
    width: int  # pixels, as shown
    height: int
    first_time: float = 0.0  # seconds, of the first frame
    container: str = ""
    codec: str = ""
    pixel_format: str = ""
    keyframe_interval: int = 1  # frames, the longest
    orientation: Orientation = UPRIGHT
    traits: frozenset[Trait] = frozenset()
    # Seconds, where the rate varies.
    times: Float64[np.ndarray, " num_frames"] | None = field(default=None, compare=False, repr=False)

    @property
    def duration(self) -> float:
        """Seconds, from the first frame's start to the last one's end."""
        return self.num_frames / self.fps

    def missing_part(self, start: float | None) -> str:
        """Why there is nothing from this time on (seconds from the first frame); empty where there is."""
        if start is None or start < self.duration - 1e-6:
            return ""
        return f"its part starts at {start:g} s, and the file ends at {self.duration:.3f} s"

    @property
    def all_times(self) -> Float64[np.ndarray, " num_frames"]:
        """Presentation times in seconds."""
        return self.first_time + np.arange(self.num_frames) / self.fps if self.times is None else self.times

    def time_of(self, frame_id: int) -> float:
        """Presentation time in seconds."""
        return float(self.times[frame_id]) if self.times is not None else self.first_time + frame_id / self.fps

    def frame_at(self, time: float) -> int:
        """The frame with this time; outside [0, num_frames) if there is none."""
        if self.times is None:
            return round((time - self.first_time) * self.fps)
        nearest = int(np.searchsorted(self.times, time - 1e-6))
        return nearest if nearest < len(self.times) and abs(self.times[nearest] - time) < 1e-6 else -1


def scan_video(source: FileOrBytes) -> VideoFacts:
    """Read a file's packets, and decode its frames where packets are not enough. Raises VideoError if it has none."""
    with opened(source) as (container, stream):
        packets, first_frame, is_damaged = _read_packets(container, stream)
        # The stream must not be used once its file is closed.
        decoder, time_base = stream.codec_context, float(stream.time_base)
        codec, reorders = decoder.codec.canonical_name, decoder.has_b_frames
        container_name = container.format.name.split(",")[0]
        header_rate = float(stream.average_rate or stream.guessed_rate or 0)
    traits = {Trait.REORDERED} if reorders else set()
    shown = [packet for packet in packets if not packet.hidden]
    if len(shown) < len(packets):
        traits.add(Trait.EDIT_LIST)
    if _has_open_gop(packets):
        traits.add(Trait.OPEN_GOP)
    if container_name == "avi":  # it has no times, and those that libavformat invents change with the seek
        traits.add(Trait.UNTIMED)
    times: np.ndarray | None
    if first_frame is not None and not is_damaged and codec in ONE_FRAME_PER_PACKET and _are_frames(packets):
        times = np.sort([packet.pts for packet in shown if packet.pts is not None]) * time_base
        num_frames = len(times)
    else:
        num_frames, first_frame, times, found = _count_frames(source)
        traits |= found
        if num_frames != len(shown):
            traits.add(Trait.HIDDEN_FRAMES)
        if times is None or any(packet.pts is None for packet in packets):
            traits.add(Trait.UNTIMED)
    orientation = orientation_of(first_frame)
    width, height = first_frame.width, first_frame.height
    facts = VideoFacts(
        num_frames=num_frames,
        fps=header_rate,
        width=height if orientation.transposed else width,
        height=width if orientation.transposed else height,
        container=container_name,
        codec=codec,
        pixel_format=first_frame.format.name,
        keyframe_interval=_longest_interval([packet.is_keyframe for packet in packets]),
        orientation=orientation,
        traits=frozenset(traits),
    )
    return _with_times(facts, times, header_rate)


class _Packet(NamedTuple):
    pts: int | None
    is_keyframe: bool
    hidden: bool


def _read_packets(container: Any, stream: Any) -> tuple[list[_Packet], av.VideoFrame | None, bool]:
    """All packets of the stream, the first frame, and whether reading stopped at an error."""
    packets: list[_Packet] = []
    first_frame, is_damaged = None, False
    try:
        for packet in container.demux(stream):
            if packet.size:
                packets.append(_Packet(packet.pts, packet.is_keyframe, packet.is_discard))
            if first_frame is None:
                frames = packet.decode()
                first_frame = frames[0] if frames else None
    except (av.FFmpegError, ValueError):
        is_damaged = True
    return packets, first_frame, is_damaged


def _are_frames(packets: list[_Packet]) -> bool:
    """Whether each shown packet is one frame with its own time, all after a first keyframe."""
    times = [packet.pts for packet in packets if not packet.hidden and packet.pts is not None]
    num_shown = sum(not packet.hidden for packet in packets)
    if not num_shown or len(set(times)) < num_shown or not packets[0].is_keyframe:
        return False
    return packets[0].hidden or packets[0].pts == min(times)


def _has_open_gop(packets: list[_Packet]) -> bool:
    latest: int | None = None  # pts of the last keyframe
    for packet in packets:
        if packet.pts is None:
            continue
        if packet.is_keyframe:
            latest = packet.pts
        elif latest is not None and packet.pts < latest:
            return True
    return False


def _longest_interval(are_keyframes: list[bool]) -> int:
    return int(np.diff(np.flatnonzero([*are_keyframes, True]), prepend=0).max(initial=1))


def _count_frames(source: FileOrBytes) -> tuple[int, av.VideoFrame, np.ndarray | None, set[Trait]]:
    """Decode the file up to its first error. Returns the number of frames, the first, times if ascending, traits."""
    times: list[float | None] = []
    traits: set[Trait] = set()
    first_frame, reason = None, "no frame of the video stream can be decoded"
    with opened(source) as (container, stream):
        try:
            for frame in container.decode(stream):
                if first_frame is None:
                    first_frame = frame
                elif (frame.width, frame.height) != (first_frame.width, first_frame.height):
                    traits.add(Trait.RESIZED)
                times.append(frame.time)
        except (av.FFmpegError, ValueError) as error:
            traits.add(Trait.DAMAGED)
            reason = reason_of(error)
    if first_frame is None:
        raise VideoError(reason)
    known = np.array([time for time in times if time is not None])
    ascending = len(known) == len(times) and bool((np.diff(known) > 0).all())
    return len(times), first_frame, known if ascending else None, traits


def _with_times(facts: VideoFacts, times: np.ndarray | None, header_rate: float) -> VideoFacts:
    """With the rate and times of the frames. The header's rate is used if frames keep to it."""
    known_rate = header_rate if header_rate > 0 else DEFAULT_FPS
    if times is None:
        return replace(facts, fps=known_rate)
    first_time, steps = float(times[0]), np.arange(len(times))
    if len(times) == 1:
        return replace(facts, fps=known_rate, first_time=first_time)
    mean_rate = float((len(times) - 1) / (times[-1] - times[0]))
    for rate in (header_rate, mean_rate):
        if np.abs((times - first_time) * rate - steps).max() < 0.4:  # containers round times: 33, 67, 100 ms
            return replace(facts, fps=rate, first_time=first_time)
    traits = facts.traits | {Trait.VARIABLE_RATE}
    return replace(facts, fps=mean_rate, first_time=first_time, times=times, traits=traits)


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """From the frame's display matrix. Raises VideoError for a rotation other than a multiple of 90 degrees."""
    try:
        side_data: Iterable[Any] = iter(frame.side_data)  # PyAV's stubs declare an iterator of names
        matrix = next((data for data in side_data if data.type.name == "DISPLAYMATRIX"), None)
    except ValueError:  # PyAV fails on an unknown kind of side data; mirroring then stays unknown
        return _UNMIRRORED.get(frame.rotation % 360, Orientation())
    if matrix is None:
        return Orientation()
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if (a, d) == (0, 0) and b and c:
        return Orientation(True, flipped_rows=b < 0, flipped_columns=c < 0)
    if (b, c) == (0, 0) and a and d:
        return Orientation(False, flipped_rows=d < 0, flipped_columns=a < 0)
    raise VideoError("the file is rotated by an angle that is not a multiple of 90 degrees")


_UNMIRRORED = {  # by degrees counter-clockwise
    90: Orientation(True, flipped_rows=True),
    180: Orientation(False, True, True),
    270: Orientation(True, flipped_columns=True),
}


def check_size(frames: UInt8[np.ndarray, "T H W 3"], facts: VideoFacts) -> None:
    """Raise VideoError if the file has changed since its scan: crops are drawn for the size of frames found then."""
    height, width = frames.shape[1:3]
    if (height, width) != (facts.height, facts.width):
        raise VideoError(f"frames are {width}x{height} and not {facts.width}x{facts.height} as found before")


@contextmanager
def opened(source: FileOrBytes) -> Iterator[tuple[Any, Any]]:
    """A file's container and its best video stream, decoded by one thread. Raises VideoError if there is none.

    Typed loosely: PyAV's stubs have no stream without a decoder.
    """
    try:
        container = av.open(source if isinstance(source, str) else io.BytesIO(source))
    except FileNotFoundError:
        raise VideoError("no such file") from None
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(reason_of(error)) from error
    try:
        stream = container.streams.best("video")
        if stream is None:
            raise VideoError("the file has no video stream")
        if stream.codec_context is None:
            raise VideoError("there is no decoder for the video stream's codec")
        # More threads gain nothing at this size, and PyAV's log callback can deadlock in one of them (measured).
        stream.codec_context.thread_count = 1
        yield container, stream
    finally:
        container.close()


def reason_of(error: Exception) -> str:
    """The first line of an error."""
    text = getattr(error, "strerror", None) or str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
