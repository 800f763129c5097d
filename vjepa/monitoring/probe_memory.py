"""Clips of the online probe and their features, in main memory."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from lightning.pytorch.plugins.precision import Precision
from torch import Tensor, nn

from vjepa.data.clips.batch import normalize_clips
from vjepa.data.clips.evaluation_clips import SplitName
from vjepa.data.clips.labelled_clips import LabelledClips
from vjepa.data.randomness import Purpose, generator_for
from vjepa.evaluation.probes.feature_cache import SplitFeatures
from vjepa.evaluation.probes.frozen_features import FrozenFeatures
from vjepa.models import VideoEncoder


class HeldClips(NamedTuple):
    """Decoded clips of one split, without the files that could not be read."""

    clips: UInt8[Tensor, "R C 3 T H W"]  # C clips of each file
    labels: Int64[Tensor, " R"]
    rows: Int64[Tensor, " R"]  # of the split's manifest
    ranks: Int64[Tensor, " R"]  # random order within a class for training files, among all files for val and test

    def kept(self, halvings: int) -> Bool[Tensor, " R"]:
        """The first half of the ranks, or a quarter, and so on: each halving keeps a subset of the one before."""
        return self.ranks < max(1, (int(self.ranks.max()) + 1) >> halvings)

    def halved(self, halvings: int) -> "HeldClips":
        kept = self.kept(halvings)
        return self if kept.all() else HeldClips(*(part[kept] for part in self))


def hold_clips(data: LabelledClips, split: SplitName, rows: np.ndarray) -> HeldClips:
    """Decode these rows of a split. Raises ValueError where none can be read."""
    per_file, shape = data.cuts[split].clips_per_video, (3, data.frames.num_frames, *data.crop_size)
    clips = torch.empty(len(rows), per_file, *shape, dtype=torch.uint8)
    labels, rows_read, filled = [], [], 0
    for batch in data.evaluation_batches(split, rows):
        num_files = len(batch.clips) // per_file
        clips[filled : filled + num_files] = batch.clips.reshape(num_files, per_file, *shape)
        labels.append(batch.labels[::per_file])
        rows_read.append(batch.rows[::per_file])
        filled += num_files
    if not filled:
        raise ValueError(f"none of the {len(rows)} files of {split} for the online probe could be read")
    file_labels = torch.cat(labels)
    generator = generator_for(data.seed, Purpose.LABELLED_ROWS, 4)
    ranks = drawn_ranks(file_labels if split == "train" else torch.zeros_like(file_labels), generator)
    return HeldClips(clips[:filled], file_labels, torch.cat(rows_read), ranks)


def drawn_ranks(
    groups: Int64[Tensor, " R"], generator: np.random.Generator
) -> Int64[Tensor, " R"]:  # from 0 in each group
    order = torch.from_numpy(generator.permutation(len(groups)))
    ranks = torch.empty_like(groups)
    for group in groups.unique():
        members = order[groups[order] == group]
        ranks[members] = torch.arange(len(members))
    return ranks


class HeldFeatures(SplitFeatures):
    """Features of one split in main memory; batches are on the device of the labels."""

    def gather(self, indices: Tensor) -> Tensor:
        return self.tokens[0][indices].to(self.labels.device).float()


class LiveFeatures(FrozenFeatures):
    """Last-level tokens of an encoder in training, as it is now. Leaves it unchanged."""

    def __init__(self, encoder: VideoEncoder, precision: Precision):
        super().__init__("online")
        self.encoder = encoder
        self.precision = precision

    @torch.no_grad()
    def forward(self, clips: Tensor) -> Tensor:
        with evaluation_mode(self.encoder), self.precision.forward_context():
            return self.encoder.forward_levels(normalize_clips(clips), [len(self.encoder.blocks) - 1])[0]

    def encode(
        self, clips: UInt8[Tensor, "B 3 T H W"], batch_size: int, device: torch.device
    ) -> tuple[Tensor, float]:  # (B, N, D) float16 in main memory, seconds taken
        started = time.monotonic()
        tokens = torch.cat([self(part.to(device)).half().cpu() for part in clips.split(batch_size)])
        return tokens, time.monotonic() - started


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Restores the mode of each part of the network."""
    modes = [(part, part.training) for part in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
