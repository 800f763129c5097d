"""Encoders of single frames, for world models: a small convolutional one, and a video encoder that sees one frame."""

from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vjepa.models.encoder import VideoEncoder


class FrameEncoder(nn.Module):
    """Normalised frames (B, 3, H, W) to latents (B, N, D)."""

    embed_dim: int
    num_tokens: int
    frame_size: tuple[int, int]  # height, width
    static_dim = 0  # last features of a latent, which describe what is constant within an episode
    standardize = False  # call `fit_standardization` before training
    settings: dict[str, Any] | None = None  # of a network from a file, for checkpoints

    def fit_standardization(self, frames: Float[Tensor, "B 3 H W"]) -> None:
        """Take statistics of latents from these frames of training data."""
        raise NotImplementedError


@final
class ConvFrameEncoder(FrameEncoder):
    """A few convolutions on patches, read out in two ways, to one token per frame.

    *Where* things are: each of some maps gives the mean position of its peak (spatial softmax, Finn et al. 2015, arXiv
    1509.06113), to a fraction of a pixel. *What* the scene is: a coarse picture of few channels.

    The last `static_dim` features of a latent are read from both, the others from positions and from those features.
    The picture itself would give them the agent's position, too, but in jumps that no dynamics can follow; without the
    static features they could not represent that a wall is between two positions, and how long the way around it is.

    Args:
        frame_size: height and width, multiples of the stride of 4.
        embed_dim: width of the latent.
        static_dim: features of it for what is constant within an episode, such as a layout; with 0 all are read from
            both.
        channels: of the convolutions.
        depth: residual blocks of two convolutions each.
        num_keypoints: maps whose peak is located.
        sharpness: what their values, of unit variance over the frame, are multiplied by before the softmax, to begin
            with; it is trained.
        scene_channels: of the coarse picture; 0 leaves it out.
    """

    STRIDE = 4
    num_tokens = 1
    x: Tensor  # positions of columns, and y of rows
    y: Tensor

    def __init__(
        self,
        frame_size: tuple[int, int] = (64, 64),
        embed_dim: int = 32,
        static_dim: int = 0,
        channels: int = 16,
        depth: int = 1,
        num_keypoints: int = 16,
        sharpness: float = 6.0,
        scene_channels: int = 4,
        hidden_dim: int = 128,
    ):
        super().__init__()
        height, width = frame_size
        if height % self.STRIDE or width % self.STRIDE or not height or not width:
            raise ValueError(f"frame_size {tuple(frame_size)} must be multiples of {self.STRIDE}")
        if not 0 <= static_dim < embed_dim:
            raise ValueError(f"static_dim ({static_dim}) must be from 0 to below embed_dim ({embed_dim})")
        if channels % 4:
            raise ValueError(f"channels ({channels}) must be a multiple of 4, the groups of its norms")
        self.frame_size = (height, width)
        self.embed_dim = embed_dim
        self.static_dim = static_dim
        rows, columns = height // self.STRIDE, width // self.STRIDE
        self.stem = nn.Conv2d(3, channels, kernel_size=self.STRIDE + 2, stride=self.STRIDE, padding=1)
        self.blocks = nn.ModuleList(_residual_branch(channels) for _ in range(depth))
        self.keypoints = nn.Conv2d(channels, num_keypoints, kernel_size=1)
        self.sharpness = nn.Parameter(torch.full((num_keypoints, 1), sharpness))
        self.register_buffer("y", torch.linspace(-1, 1, rows), persistent=False)
        self.register_buffer("x", torch.linspace(-1, 1, columns), persistent=False)
        self.scene: nn.Module | None = None
        where_dim = read_dim = 3 * num_keypoints
        if scene_channels:
            coarse = nn.Conv2d(channels, scene_channels, kernel_size=1)
            self.scene = nn.Sequential(coarse, nn.Flatten(), nn.Linear(scene_channels * rows * columns, 64))
            read_dim += 64
        self.dynamic_head = _head(where_dim + static_dim, hidden_dim, embed_dim - static_dim) if static_dim else None
        self.head = _head(read_dim, hidden_dim, static_dim or embed_dim)

    def forward(self, frames: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 D"]:
        require_frame_size(frames, self.frame_size)
        maps = F.silu(self.stem(frames.contiguous(memory_format=torch.channels_last)))
        for block in self.blocks:
            maps = maps + block(maps)
        maps = F.silu(maps)
        peaks = self.keypoints(maps)  # (B, K, rows, columns)
        positions = torch.cat(
            (spatial_softmax(peaks, self.sharpness, self.x, self.y).flatten(1), peaks.mean((2, 3))), dim=1
        )
        read = self.head(positions if self.scene is None else torch.cat((positions, self.scene(maps)), dim=1))
        if self.dynamic_head is None:
            return read.unsqueeze(1)
        return torch.cat((self.dynamic_head(torch.cat((positions, read), dim=1)), read), dim=1).unsqueeze(1)


def spatial_softmax(
    maps: Float[Tensor, "B K rows columns"],
    sharpness: Float[Tensor, "K 1"],
    x: Float[Tensor, " columns"],  # positions
    y: Float[Tensor, " rows"],
) -> Float[Tensor, "B K 2"]:  # mean x and y of each map's peak
    flat = maps.flatten(2)
    # Of unit variance, so that what is rare in a frame stands out from the first step on.
    flat = (flat - flat.mean(-1, keepdim=True)) / (flat.std(-1, keepdim=True) + 1e-3)
    weights = (sharpness * flat).softmax(-1).view_as(maps)
    return torch.stack(((weights.sum(2) * x).sum(-1), (weights.sum(3) * y).sum(-1)), dim=-1)


@final
class VideoFrameEncoder(FrameEncoder):
    """A video encoder that sees each frame alone, repeated to fill a tubelet (V-JEPA 2-AC, arXiv 2506.09985).

    Args:
        encoder: of videos.
        frame_size: height and width of frames, multiples of the tubelet's.
        pool: one token per frame, the mean of all.
        pool_grid: rows and columns of tokens that are left after averaging neighbours; all if None.
        normalize: each token to zero mean and unit variance, as V-JEPA 2-AC has it.
        flatten: all tokens that are left as one wide token, for dynamics that look at one.
    """

    def __init__(
        self,
        encoder: VideoEncoder,
        frame_size: tuple[int, int] = (256, 256),
        pool: bool = False,
        pool_grid: tuple[int, int] | None = None,
        normalize: bool = True,
        flatten: bool = False,
    ):
        super().__init__()
        self.encoder = encoder
        self.frame_size = (frame_size[0], frame_size[1])
        self.frames_per_tubelet, height, width = encoder.tubelet
        if frame_size[0] % height or frame_size[1] % width:
            raise ValueError(f"frame_size {tuple(frame_size)} must be multiples of the tubelet's ({height}, {width})")
        self.grid = (frame_size[0] // height, frame_size[1] // width)
        left = (1, 1) if pool else pool_grid or self.grid
        if self.grid[0] % left[0] or self.grid[1] % left[1]:
            raise ValueError(f"pool_grid {tuple(left)} must divide the grid of tokens, {self.grid}")
        self.pooled_grid = (left[0], left[1])
        self.normalize = normalize
        self.flatten = flatten
        self.num_tokens = 1 if flatten else left[0] * left[1]
        self.embed_dim = encoder.embed_dim * (left[0] * left[1] if flatten else 1)

    def forward(self, frames: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B N D"]:
        require_frame_size(frames, self.frame_size)
        clips = frames.unsqueeze(2).expand(-1, -1, self.frames_per_tubelet, -1, -1)
        tokens = self.encoder(clips)  # (B, rows * columns, D)
        if self.normalize:
            tokens = F.layer_norm(tokens, tokens.shape[-1:])
        if self.pooled_grid != self.grid:
            pictures = tokens.transpose(1, 2).unflatten(2, self.grid)
            tokens = F.adaptive_avg_pool2d(pictures, self.pooled_grid).flatten(2).transpose(1, 2)
        return tokens.flatten(1).unsqueeze(1) if self.flatten else tokens


def encode_windows(encoder: nn.Module, frames: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B T N D"]:
    """Latents of all frames of windows."""
    return encoder(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])


def require_frame_size(frames: Tensor, frame_size: tuple[int, int]) -> None:
    """Raise ValueError where frames are of another size than the encoder's."""
    if tuple(frames.shape[2:]) != tuple(frame_size):
        raise ValueError(
            f"frames of {frames.shape[2]}x{frames.shape[3]} pixels don't fit an encoder of "
            f"{frame_size[0]}x{frame_size[1]}; resize them, or give the encoder that frame_size"
        )


def _head(width: int, hidden_dim: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden_dim), nn.SiLU(), nn.Linear(hidden_dim, out))


def _residual_branch(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.GroupNorm(4, channels),
        nn.SiLU(),
        nn.Conv2d(channels, channels, kernel_size=3, padding=1),
        nn.GroupNorm(4, channels),
        nn.SiLU(),
        nn.Conv2d(channels, channels, kernel_size=3, padding=1),
    )
