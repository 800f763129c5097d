"""Temporal tasks without labels: is a clip played forwards, are its parts in order, how fast does it run?

Arrow of time (Wei et al., CVPR 2018), order (Shuffle and Learn, arXiv 1603.08561), speed (SpeedNet, arXiv 2004.06130).
A task makes variants of each clip from the same frames, so that no single frame gives the variant away; the number of
the variant is the class. Chance is one over the number of variants.
"""

from itertools import permutations
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from vjepa.data.randomness import Purpose, generator_for

TemporalTaskName = Literal["arrow", "order", "speed"]
MAX_PARTS = 4  # of a shuffled clip
STEPS = (1, 2, 4)


@runtime_checkable
class TemporalTask(Protocol):
    """Clips to variants."""

    name: TemporalTaskName
    title: str
    class_names: tuple[str, ...]  # of the variants, by number
    decoded_frames: int  # of the clips that are handed in

    def __call__(
        self,
        clips: UInt8[Tensor, "B 3 decoded_frames H W"],
        rows: Int64[Tensor, " B"],  # of their manifest
    ) -> Float[Tensor, "B_V 3 T H W"]:  # the variants of a clip together
        ...


class ArrowOfTime:
    """Forward and backward."""

    name: TemporalTaskName = "arrow"
    title = "arrow of time"
    class_names: tuple[str, ...] = ("forward", "backward")

    def __init__(self, num_frames: int):
        self.decoded_frames = num_frames

    def __call__(self, clips: Tensor, rows: Tensor) -> Tensor:
        return torch.stack((clips, clips.flip(2)), dim=1).flatten(0, 1)


class FrameOrder:
    """In order, and out of order: parts of at least two frames are permuted, so that tubelets stay whole."""

    name: TemporalTaskName = "order"
    title = "frame order"
    class_names: tuple[str, ...] = ("in order", "out of order")

    def __init__(self, num_frames: int, seed: int):
        if num_frames < 4:
            raise ValueError(f"num_frames ({num_frames}) must be at least 4 for the frame order task")
        self.decoded_frames = num_frames
        self.seed = seed
        self.parts = np.array_split(np.arange(num_frames), min(MAX_PARTS, num_frames // 2))

    def __call__(self, clips: Tensor, rows: Tensor) -> Tensor:
        shuffled = [clip[:, self.frame_ids(row)] for clip, row in zip(clips, rows.tolist(), strict=True)]
        return torch.stack((clips, torch.stack(shuffled)), dim=1).flatten(0, 1)

    def frame_ids(self, row: int) -> Int64[Tensor, " T"]:
        """Frames of this row's clip out of order, in one of the orders other than the right one, each as likely."""
        _, *others = permutations(self.parts)
        drawn = generator_for(self.seed, Purpose.TEMPORAL_TASK, row).integers(len(others))
        return torch.from_numpy(np.concatenate(others[drawn]))


class Speed:
    """Every frame, every second and every fourth of a longer clip: as many each, around the same middle.

    Step 1 is the recipe's own rate. A file that is too short for the longer clip is spread over it evenly, as all clips
    are (`FrameSampling`): then all three are slower by the same factor.
    """

    name: TemporalTaskName = "speed"
    title = "speed"
    class_names: tuple[str, ...] = tuple(f"step {step}" for step in STEPS)

    def __init__(self, num_frames: int):
        self.num_frames = num_frames
        self.decoded_frames = (num_frames - 1) * max(STEPS) + 1

    def __call__(self, clips: Tensor, rows: Tensor) -> Tensor:
        return torch.stack([clips[:, :, self.frame_ids(step)] for step in STEPS], dim=1).flatten(0, 1)

    def frame_ids(self, step: int) -> Int64[Tensor, " num_frames"]:
        first = (self.decoded_frames - 1 - (self.num_frames - 1) * step) // 2
        return first + step * torch.arange(self.num_frames)


def temporal_task(name: TemporalTaskName, num_frames: int, seed: int) -> TemporalTask:
    """The task of this name, whose variants have so many frames."""
    if name == "arrow":
        return ArrowOfTime(num_frames)
    return FrameOrder(num_frames, seed) if name == "order" else Speed(num_frames)
