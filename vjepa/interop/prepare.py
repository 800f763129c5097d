"""Clips for a trained encoder from a video of any size and rate: a file, or an array of frames."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from vjepa.data.clips.frame_sampling import FrameSampling
from vjepa.data.clips.sliding_windows import SlidingWindowDataset, SlidingWindows, StretchKey, Unreadable, Video
from vjepa.data.video.facts import VideoFacts
from vjepa.data.video.reader import ReaderChain
from vjepa.data.video.transforms import channels_first, crop_resize, view_boxes
from vjepa.interop.portable import Preprocessing

ANY_RATE = 1.0  # of an array, where clips are cut by frames and not by seconds


def prepare_clips(
    video: str | Path | np.ndarray | Tensor, fps: float | None, preprocessing: Preprocessing, max_clips: int
) -> UInt8[Tensor, "B 3 T H W"]:
    """Back-to-back clips with the frames, rate and size of an encoder's training; see `LoadedEncoder.prepare`."""
    frames = FrameSampling(preprocessing.num_frames, preprocessing.fps, preprocessing.frame_step)
    windows = SlidingWindows(frames, max_windows=max_clips)
    if isinstance(video, str | Path):
        if fps is not None:
            raise ValueError(f"fps ({fps:g}) is that of an array; {video} is a file, which has its own; leave it out")
        return _clips_of_file(str(video), windows, preprocessing.crop_size)
    pixels = video.cpu().numpy() if isinstance(video, Tensor) else np.asarray(video)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3 or not len(pixels):
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
