"""A frozen encoder from a file of any format."""

from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from vjepa.data.clips.batch import PIXEL_MEAN, PIXEL_STD, normalize_clips
from vjepa.data.clips.frame_sampling import FrameSampling
from vjepa.data.clips.sliding_windows import SlidingWindowDataset, SlidingWindows, StretchKey, Unreadable, Video
from vjepa.data.video.facts import VideoFacts
from vjepa.data.video.reader import ReaderChain
from vjepa.data.video.transforms import channels_first, crop_resize, view_boxes
from vjepa.interop.networks import build
from vjepa.interop.opening import with_encoder
from vjepa.interop.portable import Family, Preprocessing
from vjepa.models import VideoEncoder

ANY_RATE = 1.0  # of an array of frames, where clips are cut by frames and not by seconds


@final
class LoadedEncoder(nn.Module):
    """Clips of uint8 pixels to tokens, without gradients.

    Args:
        encoder: a trained encoder.
        preprocessing: frames, rate and size of its training clips.
        family: released family, or "vjepa".
        source: file of its weights.
    """

    def __init__(self, encoder: VideoEncoder, preprocessing: Preprocessing, family: Family, source: str):
        super().__init__()
        if (preprocessing.mean, preprocessing.std) != (PIXEL_MEAN, PIXEL_STD):
            raise ValueError(
                f"{source} normalises pixels by mean {preprocessing.mean} and deviation {preprocessing.std}; only "
                f"ImageNet's, {PIXEL_MEAN} and {PIXEL_STD}, are known here"
            )
        self.encoder = encoder
        self.preprocessing = preprocessing
        self.family = family
        self.source = source
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(
        self,
        clips: Tensor,  # (B, 3, T, H, W) uint8; checked here
    ) -> Float[Tensor, "B N D"]:
        """Raises ValueError where clips are not uint8, or not a whole number of tubelets."""
        return self.encoder(self._normalized(clips))

    @torch.no_grad()
    def levels(
        self,
        clips: Tensor,  # (B, 3, T, H, W) uint8; checked here
        levels: Sequence[int],  # numbers of blocks, from 0
    ) -> list[Float[Tensor, "B N D"]]:
        """Tokens after several blocks. Raises ValueError where there is no such level."""
        return self.encoder.forward_levels(self._normalized(clips), levels)

    @torch.no_grad()
    def embed_clips(
        self,
        clips: Tensor,  # (B, 3, T, H, W) uint8; checked here
    ) -> Float[Tensor, "B D"]:
        """One embedding for each clip: the class token where the encoder has one (LeVJEPA), else the mean token."""
        return self.encoder.embed_clips(self._normalized(clips))

    def prepare(
        self,
        video: str | Path | np.ndarray | Tensor,  # a file, or (T, H, W, 3) uint8, RGB
        fps: float | None = None,
        max_clips: int = 8,
    ) -> UInt8[Tensor, "B 3 T H W"]:
        """Clips as in training, of a video of any length, rate and size.

        Back-to-back clips of `preprocessing.num_frames` frames at its rate; of each frame the largest central crop with
        the shape of `preprocessing.crop_size`, resized to it. The last clip ends with the video; a video shorter than a
        clip is spread evenly over it. Pixels stay uint8: the encoder normalises them itself.

        Args:
            video: of an array the first axis is time.
            fps: frames per second of an array; needed where the encoder's rate is in frames per second.
            max_clips: of a longer video so many, spread evenly over it.

        Raises ValueError where a file can't be read, or an array is not as above.

        Example::

            encoder = vjepa.load_encoder("synthetic")
            clips = encoder.prepare("my_video.mp4")  # or: encoder.prepare(frames, fps=30), (T, H, W, 3)
            tokens = encoder(clips)  # (B, N, D), N = T / 2 * H / 8 * W / 8 with tubelets of 2 x 8 x 8
            of_clips = encoder.embed_clips(clips)  # (B, D), the mean token
            of_video = of_clips.mean(0)  # (D,)
        """
        return prepare_clips(video, fps, self.preprocessing, max_clips)

    def _normalized(self, clips: Tensor) -> Tensor:
        """In the precision of the weights, which `half()` or `to(torch.bfloat16)` may have lowered."""
        if clips.dtype != torch.uint8 or clips.ndim != 5 or clips.shape[1] != 3:
            raise ValueError(
                f"clips of shape {tuple(clips.shape)} and {clips.dtype} must be (clips, 3 colours, frames, height, "
                f"width) of torch.uint8, as they are decoded; the encoder normalises them"
            )
        return normalize_clips(clips).to(next(self.encoder.parameters()).dtype)


def load_encoder(
    path: str | Path, which: str | None = None, num_heads: int | None = None, image_size: int | None = None
) -> LoadedEncoder:
    """Load an encoder from any format that `vjepa.interop.open_model` reads, with its arguments and errors."""
    model, part = with_encoder(path, which, num_heads, image_size)
    encoder = build(VideoEncoder, part, str(path))
    return LoadedEncoder(encoder, model.preprocessing, model.family, str(path))


def prepare_clips(
    video: str | Path | np.ndarray | Tensor, fps: float | None, preprocessing: Preprocessing, max_clips: int
) -> UInt8[Tensor, "B 3 T H W"]:
    """Back-to-back clips with the frames, rate and size of an encoder's training; see `LoadedEncoder.prepare`."""
    if max_clips < 1:
        raise ValueError(f"max_clips ({max_clips}) must be at least 1")
    frames = FrameSampling(preprocessing.num_frames, preprocessing.fps, preprocessing.frame_step)
    windows = SlidingWindows(frames, max_windows=max_clips)
    if isinstance(video, str | Path):
        if fps is not None:
            raise ValueError(f"fps ({fps:g}) is that of an array; {video} is a file, which has its own; leave it out")
        return _clips_of_file(str(video), windows, preprocessing.crop_size)
    pixels = video.cpu().numpy() if isinstance(video, Tensor) else np.asarray(video)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3 or not pixels.size:
        raise ValueError(
            f"a video of shape {pixels.shape} and {pixels.dtype} must be (frames, height, width, 3) of uint8, RGB "
            f"from 0 to 255, as video readers give it"
        )
    if fps is None and preprocessing.fps is not None:
        raise ValueError(
            f"fps is missing: this encoder takes {preprocessing.fps:g} frames per second, and an array does not tell "
            f"its own rate; give e.g. fps=30"
        )
    if fps is not None and not fps > 0:
        raise ValueError(f"fps ({fps}) must be more than 0")
    facts = VideoFacts(len(pixels), fps or ANY_RATE, pixels.shape[2], pixels.shape[1])
    frame_ids = windows.of(facts, (0, len(pixels))).frame_ids
    height, width = preprocessing.crop_size
    box = view_boxes(pixels.shape[1:3], width / height, 1)[0]
    clips = [channels_first(crop_resize(pixels[ids], box, preprocessing.crop_size)) for ids in frame_ids]
    return torch.from_numpy(np.stack(clips))


def _clips_of_file(path: str, windows: SlidingWindows, crop_size: tuple[int, int]) -> Tensor:
    dataset = SlidingWindowDataset(windows, crop_size, ReaderChain(["pyav"]))
    clips: list[Tensor] = []
    key = StretchKey(0, Video(path))
    while True:
        stretch = dataset[key]
        if isinstance(stretch, Unreadable):
            raise ValueError(f"{path} can't be read: {stretch.reason}")
        clips += [clip for _, clip in stretch.clips()]
        if key.stretch + 1 == len(stretch.plan.stretches):
            return torch.stack(clips)
        key = StretchKey(0, key.video, key.stretch + 1, stretch.plan)
