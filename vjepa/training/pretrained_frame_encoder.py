"""A frame encoder pretrained on videos: of a run of ours, a released file or a Hugging Face folder."""

from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.interop import encoder_part_of
from vjepa.interop.networks import build, whole_settings
from vjepa.models import VideoEncoder
from vjepa.models.frame_encoder import FrameEncoder, VideoFrameEncoder


@final
class PretrainedFrameEncoder(FrameEncoder):
    """Encodes each frame separately, as V-JEPA 2-AC does. The world model's `freeze_encoder` keeps its weights.

    Training needs the file. A checkpoint of a world model has the encoder's weights and settings, so that planning and
    evaluation work without the file.

    Args:
        checkpoint: of any format that `vjepa embed` reads.
        frame_size: height and width of frames, multiples of the tubelet's; positions are interpolated to them.
        which: of several encoders in the file; the moving average if None.
        pool, pool_grid, normalize, flatten: as of `VideoFrameEncoder`.
        standardize: give every number of a latent zero mean and unit variance over frames of the training data.
            Features of similar scenes are nearly constant (deviation 0.04 in Two Rooms), which leaves the dynamics
            almost no error to learn from.
        settings: of the video encoder, from the checkpoint of a world model; the file is then not read.

    Raises:
        ValueError: there is no such file, or its encoder sees nothing in a frame that stands still (`difference_gain`).
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(
        self,
        checkpoint: Path,
        frame_size: tuple[int, int] = (256, 256),
        which: str | None = None,
        pool: bool = False,
        pool_grid: tuple[int, int] | None = None,
        normalize: bool = True,
        flatten: bool = False,
        standardize: bool = False,
        settings: dict[str, Any] | None = None,
    ):
        super().__init__()
        if settings is None:
            part = encoder_part_of(checkpoint, which)
            settings = whole_settings(VideoEncoder, part.settings)
            encoder = build(VideoEncoder, part, str(checkpoint))
        else:
            encoder = VideoEncoder(**settings)
        if encoder.difference_gain is not None:
            raise ValueError(
                f"the encoder of {checkpoint} sees only what changes in a clip (difference_gain: "
                f"{encoder.difference_gain:g}), "
                f"and nothing in a single frame; give one that was trained with difference_gain: null"
            )
        self.settings = settings
        self.frames = VideoFrameEncoder(encoder, frame_size, pool, pool_grid, normalize, flatten)
        self.frame_size = self.frames.frame_size
        self.num_tokens = self.frames.num_tokens
        self.embed_dim = self.frames.embed_dim
        self.standardize = standardize
        if standardize:
            self.register_buffer("latent_mean", torch.zeros(self.num_tokens, self.embed_dim))
            self.register_buffer("latent_std", torch.ones(self.num_tokens, self.embed_dim))

    @torch.no_grad()
    def fit_standardization(self, frames: Float[Tensor, "B 3 H W"]) -> None:
        """Take mean and deviation of latents; no deviation counts as less than a tenth of the mean one."""
        latents = torch.cat([self.frames(part) for part in frames.split(64)])
        deviation = latents.std(0)
        self.latent_mean.copy_(latents.mean(0))
        self.latent_std.copy_(deviation.clamp_min(0.1 * float(deviation.mean()) + 1e-6))

    def forward(self, frames: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B N D"]:
        latents = self.frames(frames)
        return (latents - self.latent_mean) / self.latent_std if self.standardize else latents
