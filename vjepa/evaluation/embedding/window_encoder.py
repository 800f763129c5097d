"""The encoder of `vjepa embed`: windows of a video to the features that are written."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from vjepa.evaluation.accelerator import Precision, autocast
from vjepa.evaluation.probes.frozen_features import EncoderFeatures
from vjepa.interop.load_encoder import LoadedEncoder
from vjepa.interop.portable import Preprocessing

FeatureKind = Literal["pooled", "dense", "embedding"]


class WindowEncoder(nn.Module):
    """Windows to features, without gradient. Raises ValueError where windows or levels do not fit.

    Args:
        loaded: the encoder.
        preprocessing: how windows are cut.
        features: "pooled", "dense" or "embedding".
        levels: blocks whose tokens are returned; the encoder's output if None.
        device: to compute on.
        precision: of the encoder.
    """

    def __init__(
        self,
        loaded: LoadedEncoder,
        preprocessing: Preprocessing,
        features: FeatureKind,
        levels: Sequence[int] | None,
        device: torch.device,
        precision: Precision,
    ):
        super().__init__()
        height, width = preprocessing.crop_size
        clip = torch.empty(1, 3, preprocessing.num_frames, height, width, device="meta")
        self.grid = loaded.encoder.grid_of(clip)
        self.loaded = loaded.to(device).eval()
        self.features = features
        self.levels = sorted(set(levels)) if levels else None
        if features == "embedding" and self.levels is not None:
            raise ValueError("features: embedding is one vector of the encoder's output; leave out levels")
        self.device = device
        self.precision = precision
        if self.levels is not None:  # fail on a single token, before anything is decoded
            self(torch.zeros(1, 3, *loaded.encoder.tubelet, dtype=torch.uint8))

    @property
    def names(self) -> list[str]:
        return ["features"] if self.levels is None else [f"level_{level}" for level in self.levels]

    @property
    def window_shape(self) -> tuple[int, ...]:
        """Shape of one window's features."""
        width = self.loaded.encoder.embed_dim
        return (self.grid.num_tokens, width) if self.features == "dense" else (width,)

    @torch.inference_mode()
    def forward(
        self, windows: UInt8[Tensor, "B 3 T H W"]
    ) -> dict[str, Tensor]:  # by name, each (B, D) or (B, N, D) float32 on the CPU
        windows = windows.to(self.device)
        with autocast(self.device, self.precision):
            if self.features == "embedding":
                return {"features": self.loaded.embed_clips(windows).float().cpu()}
            tokens = [self.loaded(windows)] if self.levels is None else self.loaded.levels(windows, self.levels)
        found = [each.float() if self.features == "dense" else each.float().mean(dim=1) for each in tokens]
        return {name: each.cpu() for name, each in zip(self.names, found, strict=True)}

    def fingerprint(self) -> str:
        """A hash of the weights and of settings that change features."""
        return EncoderFeatures("encoder", self.loaded.encoder, self.levels).fingerprint()
