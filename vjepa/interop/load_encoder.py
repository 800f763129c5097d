"""A frozen encoder from a file of any format."""

from collections.abc import Sequence
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vjepa.data.clips.batch import PIXEL_MEAN, PIXEL_STD, normalize_clips
from vjepa.interop.networks import build
from vjepa.interop.opening import with_encoder
from vjepa.interop.portable import Family, Preprocessing
from vjepa.models import VideoEncoder


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
