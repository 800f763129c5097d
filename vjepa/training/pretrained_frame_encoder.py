"""A frame encoder that was trained on videos before: of a run of ours, a released file or a Hugging Face folder."""

from pathlib import Path
from typing import final

from torch import Tensor

from vjepa.interop import encoder_part_of
from vjepa.interop.networks import build
from vjepa.models import VideoEncoder
from vjepa.models.frame_encoder import FrameEncoder, VideoFrameEncoder


@final
class PretrainedFrameEncoder(FrameEncoder):
    """Sees each frame alone, as V-JEPA 2-AC does. With the world model's `freeze_encoder` it stays as it is.

    The file is asked for its settings whenever the model is built; once a world model is trained, the encoder's weights
    are in its own checkpoint.

    Args:
        checkpoint: of any format that `vjepa embed` reads.
        frame_size: height and width of frames, multiples of the tubelet's; positions are interpolated to them.
        which: of several encoders in the file; the moving average if None.
        pool, pool_grid, normalize: as of `VideoFrameEncoder`.
    """

    def __init__(
        self,
        checkpoint: Path,
        frame_size: tuple[int, int] = (256, 256),
        which: str | None = None,
        pool: bool = False,
        pool_grid: tuple[int, int] | None = None,
        normalize: bool = True,
    ):
        super().__init__()
        encoder = build(VideoEncoder, encoder_part_of(checkpoint, which), str(checkpoint))
        self.frames = VideoFrameEncoder(encoder, frame_size, pool, pool_grid, normalize)
        self.frame_size = self.frames.frame_size
        self.num_tokens = self.frames.num_tokens
        self.embed_dim = self.frames.embed_dim

    def forward(
        self,
        frames: Tensor,  # (B, 3, H, W)
    ) -> Tensor:  # (B, N, D)
        return self.frames(frames)
