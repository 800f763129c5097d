"""Inputs of probes: tokens of a frozen encoder and of baselines (pixels, their differences, an image model)."""

import hashlib
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from vjepa.data.clips.batch import normalize_clips
from vjepa.models import VideoEncoder


class FrozenFeatures(nn.Module):
    """Clips to tokens, without gradient.

    `name` is the row of the table; `fingerprint` identifies weights and settings.
    """

    def __init__(self, name: str):
        super().__init__()
        self.name = name

    def freeze(self) -> "FrozenFeatures":
        self.requires_grad_(False)
        return self.eval()

    def forward(self, clips: UInt8[Tensor, "B 3 T H W"]) -> Float[Tensor, "B N D"]:
        raise NotImplementedError

    def pool(
        self, tokens: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B P"]:  # what nearest neighbours and the linear probe read
        return tokens.float().mean(dim=1)

    def fingerprint(self) -> str:
        """A hash of the class, its settings and every weight."""
        digest = hashlib.sha256(f"{type(self).__name__} {self.settings()}".encode())
        for name, tensor in self.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def settings(self) -> str:
        """Settings that change the features beside the weights."""
        return ""

    def train(self, mode: bool = True) -> "FrozenFeatures":
        return super().train(False)  # no drop path, no running statistics


class EncoderFeatures(FrozenFeatures):
    """Tokens of a video encoder's last level, or of several levels concatenated along the sequence.

    Args:
        levels: blocks, from 0; the last one if None.
        pooled_cells: pool mean and standard deviation in this many cells over the height and over the width of the
            frame, so that nearest neighbours and the linear probe know where something is; the mean alone if None.
        crop_size: height and width of clips in pixels; needed for cells.
    """

    def __init__(
        self,
        name: str,
        encoder: VideoEncoder,
        levels: Sequence[int] | None = None,
        pooled_cells: int | None = None,
        crop_size: tuple[int, int] | None = None,
    ):
        super().__init__(name)
        self.encoder = encoder
        self.levels = list(levels) if levels else [len(encoder.blocks) - 1]
        plane = crop_size and (crop_size[0] // encoder.tubelet[1], crop_size[1] // encoder.tubelet[2])
        if pooled_cells is not None and (plane is None or not 1 <= pooled_cells <= min(plane)):
            raise ValueError(
                f"pooled_cells ({pooled_cells}) must be from 1 to the tokens along a side of the frame, "
                f"{'x'.join(map(str, plane or ()))}; try 4"
            )
        self.pooled_cells = pooled_cells
        self.plane = plane
        self.freeze()

    @torch.no_grad()
    def forward(self, clips: Tensor) -> Tensor:
        return torch.cat(self.encoder.forward_levels(normalize_clips(clips), self.levels), dim=1)

    def pool(self, tokens: Tensor) -> Tensor:
        if self.pooled_cells is None or self.plane is None:
            return super().pool(tokens)
        planes = tokens.float().unflatten(1, (-1, *self.plane)).movedim(-1, 1)  # (B, D, levels * frames, rows, columns)
        size = (1, self.pooled_cells, self.pooled_cells)
        mean, mean_square = (F.adaptive_avg_pool3d(values, size).flatten(1) for values in (planes, planes.square()))
        return torch.cat((mean, (mean_square - mean.square()).clamp_min(1e-8).sqrt()), dim=1)

    def settings(self) -> str:
        encoder, position = self.encoder, self.encoder.position
        # The number of heads and the kind of position leave no trace in the weights.
        kind = f"{position.kind} {position.head_dim} {position.position_grid}"
        per_frame = " frames apart" if encoder.per_frame else ""
        causal = " causal" if encoder.attention == "causal" else ""
        rest = f"{encoder.norm_eps} {encoder.difference_gain}{per_frame}{causal}"
        return f"{self.levels} {tuple(encoder.tubelet)} {kind} {rest}"


class PixelFeatures(FrozenFeatures):
    """Every frame, averaged down to `side` x `side` pixels; a token is a frame."""

    def __init__(self, name: str = "raw pixels", side: int = 8):
        super().__init__(name)
        self.side = side
        self.freeze()

    def forward(self, clips: Tensor) -> Tensor:
        frames = normalize_clips(clips).transpose(1, 2)  # (B, T, 3, H, W)
        small = F.adaptive_avg_pool2d(frames.flatten(0, 1), self.side)
        return small.flatten(1).unflatten(0, frames.shape[:2])

    def pool(self, tokens: Tensor) -> Tensor:
        return tokens.float().flatten(1)

    def settings(self) -> str:
        return str(self.side)


class FrameDifferenceFeatures(PixelFeatures):
    """Differences between one small frame and the next."""

    def __init__(self, name: str = "frame differences", side: int = 8):
        super().__init__(name, side)

    def forward(self, clips: Tensor) -> Tensor:
        return super().forward(clips).diff(dim=1)
