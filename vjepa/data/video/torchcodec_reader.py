"""Frames by torchcodec, exact where every packet is one frame. Requires the system's FFmpeg libraries (4 to 8)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from vjepa.data.video.facts import FileOrBytes, Trait, VideoError, VideoFacts, check_size, reason_of
from vjepa.data.video.transforms import CropBox, crop_resize

CONTAINERS = frozenset(["mov", "matroska", "gif", "flv"])
# Not every open group goes wrong, but what looks like one may be a stream without any real keyframe.
WRONG_WITH = (Trait.OPEN_GOP, Trait.HIDDEN_FRAMES, Trait.UNTIMED, Trait.DAMAGED, Trait.RESIZED)


class TorchcodecReader:
    """A VideoReader over torchcodec's exact mode, with one thread.

    Its approximate mode is off by frames on variable rates and open GOPs, and not faster on short files (measured).
    """

    name = "torchcodec"

    def missing(self) -> str | None:
        try:
            import torchcodec.decoders  # noqa: F401
        except (ImportError, OSError, RuntimeError) as error:  # wheels for CUDA fail with either of the last two
            return (
                f"torchcodec is not installed or finds no FFmpeg libraries ({reason_of(error)}); try "
                f"`pip install torchcodec==0.13.0` and your system's ffmpeg package"
            )
        return None

    def objection(self, facts: VideoFacts) -> str | None:
        wrong = [trait for trait in WRONG_WITH if trait in facts.traits]
        if facts.container not in CONTAINERS:
            return f"frames of {facts.container} files are not always right"
        if wrong:
            return f"frames with {wrong[0].value.replace('_', ' ')} are wrong"
        return "mirroring is not applied" if facts.orientation.is_mirrored else None

    def decode(
        self,
        source: FileOrBytes,
        facts: VideoFacts,
        frame_ids: Sequence[int],
        crop_box: CropBox | None = None,
        size: tuple[int, int] | None = None,
    ) -> UInt8[np.ndarray, "T H W 3"]:
        from torchcodec.decoders import VideoDecoder  # type: ignore[attr-defined]

        try:
            video = VideoDecoder(source, dimension_order="NHWC", num_ffmpeg_threads=1)
            frames = video.get_frames_at(list(frame_ids)).data.numpy()
        except (RuntimeError, ValueError, IndexError) as error:
            raise VideoError(reason_of(error)) from error
        check_size(frames, facts)
        return crop_resize(frames, crop_box, size)
