"""What is known of a video file before a clip is cut from it: a scan of its packets, never a decoder's own promise.

A scan reads the file's packets (PyAV) and decodes its first frame. Where packets say all (each has a presentation time
of its own, the first is a keyframe) the frames are counted without decoding; elsewhere every frame is decoded once, so
that `num_frames` is what can really be decoded. What makes some readers return wrong frames is noted as a trait.
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

FileOrBytes = str | bytes  # a file's path, or what is in it
DEFAULT_FPS = 25.0  # of files that tell neither a rate nor times, as ffmpeg assumes

# Packets of these are one frame each, shown at their own time. VP8 hides frames among its packets, MPEG-4 in AVI packs
# two in one, interlaced pictures come in halves: there a count of packets is no count of frames.
ONE_FRAME_PER_PACKET = frozenset(["h264", "hevc", "vp9", "av1", "vvc", "mjpeg", "png", "gif", "prores", "ffv1"])


class VideoError(Exception):
    """A file or a frame of it can't be decoded; the message says why, without the path."""


class Trait(StrEnum):
    """What a reader must be able to deal with to get a file's frames right."""

    EDIT_LIST = "edit_list"  # some packets are decoded but not shown
    OPEN_GOP = "open_gop"  # frames after a keyframe are shown before it, and refer to frames before it
    VARIABLE_RATE = "variable_rate"  # the times of frames are no arithmetic progression
    UNTIMED = "untimed"  # frames have no times of their own: only counting from the start finds one
    REORDERED = "reordered"  # frames are stored in another order than they are shown (B-frames)
    HIDDEN_FRAMES = "hidden_frames"  # there are more packets than frames, or fewer
    DAMAGED = "damaged"  # decoding stops at an error; `num_frames` are before it
    RESIZED = "resized"  # the size of frames changes in mid-stream


class Orientation(NamedTuple):
    """How coded pixels become shown ones: exchange rows and columns, then mirror."""

    transposed: bool = False
    flipped_rows: bool = False
    flipped_columns: bool = False

    @property
    def is_mirrored(self) -> bool:
        return bool(self.transposed ^ self.flipped_rows ^ self.flipped_columns)

    def shown(
        self,
        frames: np.ndarray,  # (T, H, W, C) as coded
    ) -> np.ndarray:  # (T, H', W', C) as shown
        if self.transposed:
            frames = frames.swapaxes(1, 2)
        return frames[:, :: -1 if self.flipped_rows else 1, :: -1 if self.flipped_columns else 1]


UPRIGHT = Orientation()


@dataclass(frozen=True)
class VideoFacts:
    """One video stream of a file: the one that ffmpeg would choose."""

    num_frames: int  # that are shown and can be decoded
    fps: float  # frames per second, mean
    width: int  # pixels, as shown
    height: int
    first_time: float = 0.0  # seconds, of the first frame
    container: str = ""
    codec: str = ""
    pixel_format: str = ""
    keyframe_interval: int = 1  # frames, the longest
    orientation: Orientation = UPRIGHT
    traits: frozenset[Trait] = frozenset()
    times: np.ndarray | None = field(default=None, compare=False, repr=False)  # (num_frames,) s, of a variable rate

    @property
    def duration(self) -> float:
        """Seconds from the first frame's start to the last one's end."""
        return self.num_frames / self.fps

    def time_of(self, frame_id: int) -> float:
        """Seconds, on the file's own clock."""
        return float(self.times[frame_id]) if self.times is not None else self.first_time + frame_id / self.fps

    def frame_at(self, time: float) -> int:
        """Number of the frame with this time; outside [0, num_frames) where there is none."""
        if self.times is None:
            return round((time - self.first_time) * self.fps)
        nearest = int(np.searchsorted(self.times, time - 1e-6))
        return nearest if nearest < len(self.times) and abs(self.times[nearest] - time) < 1e-6 else -1


def scan_video(source: FileOrBytes) -> VideoFacts:
    """Read a file's packets, and its frames where packets do not tell them. Raises VideoError where it has none."""
    with opened(source) as (container, stream):
        packets, first_frame, is_damaged = _read_packets(container, stream)
        # A stream must not be asked for anything once its file is closed.
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
    if container_name == "avi":  # it keeps no times, and those that libavformat makes up change with the seek
        traits.add(Trait.UNTIMED)
    times: np.ndarray | None
    if first_frame is not None and not is_damaged and codec in ONE_FRAME_PER_PACKET and _tell_their_frames(packets):
        times = np.sort([packet.pts for packet in shown if packet.pts is not None]) * time_base
        num_frames = len(times)
    else:
        num_frames, first_frame, times, seen = _count_frames(source)
        traits |= seen
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


def _tell_their_frames(packets: list[_Packet]) -> bool:
    """Whether each packet that is shown is one frame with a time of its own, all after a first keyframe."""
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
    places = np.flatnonzero([*are_keyframes, True])
    return int(np.diff(places, prepend=0).max(initial=1))


def _count_frames(source: FileOrBytes) -> tuple[int, av.VideoFrame, np.ndarray | None, set[Trait]]:
    """Decode the whole file, up to its first error: number of frames, the first, all times if they ascend, traits."""
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
    """Rate and times as the frames have them. The header's rate counts where frames keep to it."""
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
    """From the frame's display matrix. Raises VideoError where it is no multiple of a right angle."""
    try:
        side_data: Iterable[Any] = iter(frame.side_data)  # PyAV's types say that it iterates over names
        matrix = next((data for data in side_data if data.type.name == "DISPLAYMATRIX"), None)
    except ValueError:  # PyAV lists no side data beside a kind that it does not know; mirroring then stays unknown
        return _UNMIRRORED.get(frame.rotation % 360, Orientation())
    if matrix is None:
        return Orientation()
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if (a, d) == (0, 0) and b and c:
        return Orientation(True, flipped_rows=b < 0, flipped_columns=c < 0)
    if (b, c) == (0, 0) and a and d:
        return Orientation(False, flipped_rows=d < 0, flipped_columns=a < 0)
    raise VideoError("the file asks for a rotation that is no multiple of 90 degrees")


_UNMIRRORED = {  # by degrees counter-clockwise
    90: Orientation(True, flipped_rows=True),
    180: Orientation(False, True, True),
    270: Orientation(True, flipped_columns=True),
}


def check_size(
    frames: np.ndarray,  # (T, H, W, 3)
    facts: VideoFacts,
) -> None:
    """Raise VideoError where frames are not of the size that a crop was drawn for: the file has changed since."""
    height, width = frames.shape[1:3]
    if (height, width) != (facts.height, facts.width):
        raise VideoError(f"frames are {width}x{height} and not {facts.width}x{facts.height} as found before")


@contextmanager
def opened(source: FileOrBytes) -> Iterator[tuple[Any, Any]]:
    """A file's container and its best video stream, to be decoded by one thread. Raises VideoError where there is none.

    PyAV's container.open and streams.best, typed loosely: its stubs know no stream without a decoder.
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
            raise VideoError("no decoder knows the video stream's codec")
        # PyAV's many threads bring nothing at this size, and a log callback in one of them can deadlock (measured).
        stream.codec_context.thread_count = 1
        yield container, stream
    finally:
        container.close()


def reason_of(error: Exception) -> str:
    """The first line of an error."""
    text = getattr(error, "strerror", None) or str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
