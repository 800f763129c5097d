"""A decoder of frames from latents, for a world model's twin that must predict pixels."""

from typing import final

from jaxtyping import Float
from torch import Tensor, nn


@final
class FrameDecoder(nn.Module):
    """The mean token to a coarse picture, which is doubled in size until it is a frame.

    Args:
        embed_dim: width of a latent.
        frame_size: height and width, multiples of 16.
        channels: of the coarse picture; halved with each doubling.
    """

    def __init__(self, embed_dim: int, frame_size: tuple[int, int] = (64, 64), channels: int = 64):
        super().__init__()
        if frame_size[0] % 16 or frame_size[1] % 16:
            raise ValueError(f"frame_size {tuple(frame_size)} of a decoder must be multiples of 16")
        rows, columns = frame_size[0] // 16, frame_size[1] // 16
        self.to_picture = nn.Sequential(
            nn.Linear(embed_dim, channels * rows * columns), nn.SiLU(), nn.Unflatten(1, (channels, rows, columns))
        )
        doublings: list[nn.Module] = []
        for _ in range(3):
            doublings += [nn.ConvTranspose2d(channels, channels // 2, kernel_size=4, stride=2, padding=1), nn.SiLU()]
            channels //= 2
        self.doublings = nn.Sequential(*doublings, nn.ConvTranspose2d(channels, 3, kernel_size=4, stride=2, padding=1))

    def forward(self, latents: Float[Tensor, "B N D"]) -> Float[Tensor, "B 3 H W"]:  # in normalised pixels
        return self.doublings(self.to_picture(latents.mean(1)))
