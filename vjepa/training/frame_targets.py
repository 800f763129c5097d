"""Where the latents that a world model predicts come from: its encoder or the encoder's moving average."""

from typing import Self, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vjepa.models import frozen_copy, update_ema
from vjepa.models.frame_encoder import FrameEncoder, encode_windows


class FrameTargets(nn.Module):
    """Subclasses implement `forward`."""

    def build(self, encoder: FrameEncoder) -> None:
        """Called once by the model."""

    def forward(self, frames: Float[Tensor, "B T 3 H W"], latents: Float[Tensor, "B T N D"]) -> Tensor:
        """Targets (B, T, N, D) for all frames; `latents` are those of the model's encoder."""
        raise NotImplementedError


@final
class OwnLatents(FrameTargets):
    """The encoder's own, with gradients. Other terms must prevent collapse."""

    def forward(self, frames: Float[Tensor, "B T 3 H W"], latents: Float[Tensor, "B T N D"]) -> Tensor:
        return latents


@final
class DetachedLatents(FrameTargets):
    """The encoder's own, without gradients."""

    def forward(self, frames: Float[Tensor, "B T 3 H W"], latents: Float[Tensor, "B T N D"]) -> Tensor:
        return latents.detach()


@final
class AverageLatents(FrameTargets):
    """Those of the encoder's moving average (EMA)."""

    encoder: FrameEncoder

    def build(self, encoder: FrameEncoder) -> None:
        self.encoder = frozen_copy(encoder)

    @torch.no_grad()
    def forward(self, frames: Float[Tensor, "B T 3 H W"], latents: Float[Tensor, "B T N D"]) -> Tensor:
        return encode_windows(self.encoder, frames)

    def update(self, encoder: FrameEncoder, momentum: float) -> None:
        update_ema(self.encoder, encoder, momentum)

    def train(self, mode: bool = True) -> Self:
        return super().train(False)
