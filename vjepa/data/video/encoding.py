"""Frames to a video file."""

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

KEYFRAME_INTERVAL = 16  # frames


def encode_video(
    path: Path,
    frames: NDArray[np.uint8],  # (T, H, W, 3) RGB, H and W even
    fps: int,
    lookahead: bool = True,
) -> None:
    """Write an mp4 that every player opens: H.264, yuv420p, a key frame every 16 frames, no B-frames.

    Without `lookahead` a frame is encoded from itself and earlier ones alone, in more bits: videos that begin alike are
    then alike until they differ.
    """
    height, width = frames.shape[1:3]
    # bitexact leaves the library's version out of the file; with one thread the bits do not depend on the cores.
    muxing = {"movflags": "+faststart", "fflags": "+bitexact"}
    groups = f"keyint={KEYFRAME_INTERVAL}:min-keyint={KEYFRAME_INTERVAL}:scenecut=0:open-gop=0:bframes=0"
    groups += "" if lookahead else ":rc-lookahead=0:mbtree=0"
    coding = {"crf": "18", "preset": "veryfast", "x264-params": groups}
    with av.open(str(path), "w", format="mp4", options=muxing) as container:
        stream = container.add_stream("libx264", rate=fps, options=coding)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
