"""Clips by position: the manifest's row, the frames, the crop and the flip all follow from (seed, position)."""

from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from vjepa.data.frame_sampling import clip_frame_ids
from vjepa.data.manifest import Manifest
from vjepa.data.order import ClipKey, ClipOrder
from vjepa.data.randomness import Purpose, generator_for
from vjepa.data.reader import DecordReader, VideoError
from vjepa.data.transforms import central_crop_box, crop_resize_flip, random_crop_box

MAX_REPLACEMENTS = 20


class Clip(NamedTuple):
    pixels: torch.Tensor  # (3, T, H, W) uint8
    label: int
    row: int
    key: ClipKey
    failures: list[tuple[str, str]]  # files tried before this one: (path, reason)


class ClipDataset(Dataset[Clip]):
    """Cuts one clip for each key.

    With `augment` the clip's start, crop and flip are drawn from (seed, position); without it, it is the middle of the
    file and of the frame. A file that can't be read is replaced by another row drawn from (seed, position), and named
    in the clip's `failures`.
    """

    def __init__(
        self,
        manifest: Manifest,
        order: ClipOrder,
        num_frames: int,
        crop_size: tuple[int, int],
        fps: float | None,
        frame_step: float | None,
        crop_scale: tuple[float, float],
        crop_aspect_ratio: tuple[float, float],
        flip_share: float,
        augment: bool,
    ):
        self.manifest = manifest
        self.order = order
        self.num_frames = num_frames
        self.crop_size = crop_size
        self.fps = fps
        self.frame_step = frame_step
        self.crop_scale = crop_scale
        self.crop_aspect_ratio = crop_aspect_ratio
        self.flip_share = flip_share
        self.augment = augment

    def __getitem__(self, key: ClipKey) -> Clip:
        failures: list[tuple[str, str]] = []
        for attempt in range(MAX_REPLACEMENTS):
            row = self.order.row(key.position, attempt)
            generator = generator_for(self.order.seed, Purpose.CLIP, key.position, attempt)
            try:
                pixels = self._cut(self.manifest.paths[row], generator)
            except VideoError as error:
                failures.append((self.manifest.paths[row], str(error)))
                continue
            return Clip(torch.from_numpy(pixels), self.manifest.labels[row], row, key, failures)
        path, reason = failures[-1]
        raise ValueError(
            f"{MAX_REPLACEMENTS} files of {self.manifest.source} in a row could not be read, "
            f"the last was {path}: {reason}"
        )

    def _cut(self, path: str, generator: np.random.Generator) -> np.ndarray:  # (3, T, H, W) uint8
        start = generator.random() if self.augment else 0.5
        reader = DecordReader(path)
        try:
            frame_ids = clip_frame_ids(reader.num_frames, reader.fps, self.num_frames, self.fps, self.frame_step, start)
            frames = reader.read(frame_ids.tolist())
        finally:
            reader.close()
        if self.augment:
            box = random_crop_box(frames.shape[1:3], self.crop_scale, self.crop_aspect_ratio, generator)
        else:
            shape = self.crop_size[1] / self.crop_size[0]
            box = central_crop_box(frames.shape[1:3], (shape, shape))
        return crop_resize_flip(frames, box, self.crop_size, flip=self.augment and generator.random() < self.flip_share)
