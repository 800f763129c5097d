"""Baselines of probes that need no learning: histograms of one frame's gradients, and of optical flow."""

from itertools import pairwise

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from vjepa.evaluation.probes.frozen_features import FrozenFeatures


class GradientHistogramFeatures(FrozenFeatures):
    """Histograms of oriented gradients of a clip's middle frame (Dalal and Triggs, CVPR 2005).

    A token is a block of 2 x 2 cells, normalised together; blocks overlap.

    Args:
        cell: side of a cell in pixels.
        num_angles: bins over half a turn; a gradient is split between the two nearest.
    """

    def __init__(self, name: str = "gradient histograms, one frame", cell: int = 8, num_angles: int = 9):
        super().__init__(name)
        self.cell = cell
        self.num_angles = num_angles
        self.freeze()

    def forward(self, clips: Tensor) -> Tensor:
        """Raises ValueError where a frame has fewer than 2 x 2 cells."""
        if min(clips.shape[-2:]) < 2 * self.cell:
            height, width = clips.shape[-2:]
            raise ValueError(f"frames of {height} x {width} pixels have no 2 x 2 cells of {self.cell} pixels")
        grey = clips[:, :, clips.shape[2] // 2].float().mean(1) / 255  # (B, H, W)
        across = F.pad(grey, (1, 1, 0, 0), mode="replicate").unfold(2, 3, 1)
        down = F.pad(grey, (0, 0, 1, 1), mode="replicate").unfold(1, 3, 1)
        across, down = across[..., 2] - across[..., 0], down[..., 2] - down[..., 0]
        histogram = angle_histograms(across, down, self.num_angles, turn=torch.pi)
        cells = F.avg_pool2d(histogram.movedim(-1, 1), self.cell)  # (B, angles, rows, columns)
        blocks = F.unfold(cells, 2).transpose(1, 2)  # (B, N, 4 * angles)
        clipped = F.normalize(blocks, dim=-1, eps=1e-3).clamp(max=0.2)
        return F.normalize(clipped, dim=-1, eps=1e-3)

    def pool(self, tokens: Tensor) -> Tensor:
        return tokens.float().flatten(1)

    def settings(self) -> str:
        return f"{self.cell} {self.num_angles}"


class FlowHistogramFeatures(FrozenFeatures):
    """Histograms of optical flow over all frames of a clip (Laptev et al., CVPR 2008), dense as Farnebäck's (2003).

    A token is a part of the clip's time: the directions of its flow in `side` x `side` cells, weighted by speed. A clip
    has unit length before square roots are taken, so that neither its overall speed nor one fast cell decides.

    Args:
        side: cells over the height and over the width of the frame.
        num_angles: bins over a whole turn; a flow vector is split between the two nearest.
        num_parts: parts of the clip's time.
    """

    def __init__(
        self, name: str = "flow histograms, all frames", side: int = 8, num_angles: int = 8, num_parts: int = 3
    ):
        super().__init__(name)
        self.side = side
        self.num_angles = num_angles
        self.num_parts = num_parts
        self.freeze()

    def forward(self, clips: Tensor) -> Tensor:
        """Raises ValueError where a clip has a single frame."""
        across, down = optical_flow(clips).unbind(-1)
        histogram = angle_histograms(across, down, self.num_angles, turn=2 * torch.pi)
        size = (self.num_parts, self.side, self.side)
        cells = F.adaptive_avg_pool3d(histogram.movedim(-1, 1), size)  # (B, angles, parts, rows, columns)
        return F.normalize(cells.flatten(1), dim=1, eps=1e-3).sqrt().view_as(cells).transpose(1, 2).flatten(2)

    def pool(self, tokens: Tensor) -> Tensor:
        return tokens.float().flatten(1)

    def settings(self) -> str:
        return f"{self.side} {self.num_angles} {self.num_parts}"


def optical_flow(clips: UInt8[Tensor, "B 3 T H W"]) -> Float[Tensor, "B T_minus_1 H W 2"]:
    """Pixels to the right and downwards from each frame to the next."""
    if clips.shape[2] < 2:
        raise ValueError("clips of 1 frame have no optical flow; give num_frames of at least 2")
    grey = clips.float().mean(1).round().to(torch.uint8).cpu().numpy()  # (B, T, H, W)
    flows = [[_flow_between(*pair) for pair in pairwise(clip)] for clip in grey]
    return torch.from_numpy(np.array(flows)).to(clips.device)


def _flow_between(frame: np.ndarray, following: np.ndarray) -> np.ndarray:
    return cv2.calcOpticalFlowFarneback(  # type: ignore[call-overload]
        frame,
        following,
        None,  # no first guess
        pyr_scale=0.5,
        levels=3,
        winsize=15,
        iterations=3,
        poly_n=5,
        poly_sigma=1.2,
        flags=0,
    )


def angle_histograms(
    across: Float[Tensor, "..."],
    down: Float[Tensor, "..."],
    num_angles: int,
    turn: float,  # radians that the bins cover: a whole turn, or half of one where opposite directions are the same
) -> Float[Tensor, "... num_angles"]:
    """The length of each vector, split between the two bins nearest to its angle."""
    bins = torch.atan2(down, across) / turn * num_angles
    lower = bins.floor()
    fraction = bins - lower
    length = torch.hypot(across, down)
    histogram = torch.zeros(*across.shape, num_angles, device=across.device)
    for number, weight in ((lower, 1 - fraction), (lower + 1, fraction)):
        histogram.scatter_add_(-1, (number.long() % num_angles)[..., None], (length * weight)[..., None])
    return histogram
