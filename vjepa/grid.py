"""Token arithmetic: a clip's tubelets lie on a (frames, height, width) grid and are numbered in that order."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor


class TokenGrid(NamedTuple):
    """How many tubelets a clip has over time, height and width; token id = (t * height + h) * width + w."""

    frames: int
    height: int
    width: int

    @property
    def num_tokens(self) -> int:
        return self.frames * self.height * self.width

    @classmethod
    def of_clip(
        cls,
        clip_size: tuple[int, int, int],  # frames, height, width in pixels
        tubelet: tuple[int, int, int],  # frames, height, width of one token
    ) -> "TokenGrid":
        """The grid of a clip. Raises ValueError where the clip is no whole number of tubelets."""
        for name, length, step in zip(("num_frames", "height", "width"), clip_size, tubelet, strict=True):
            if length < step or length % step:
                nearest = max(step, round(length / step) * step)
                raise ValueError(
                    f"{name} ({length}) must be a multiple of the tubelet's {name} ({step}); try {nearest}"
                )
        return cls(*(length // step for length, step in zip(clip_size, tubelet, strict=True)))

    def positions(self, token_ids: Int64[Tensor, "..."]) -> Int64[Tensor, "... 3"]:  # frame, row, column of each token
        plane = self.height * self.width
        return torch.stack((token_ids // plane, token_ids % plane // self.width, token_ids % self.width), dim=-1)

    def ids(self, positions: Int64[Tensor, "... 3"]) -> Int64[Tensor, "..."]:
        frame, row, column = positions.unbind(-1)
        return (frame * self.height + row) * self.width + column


def gather_tokens(tokens: Float[Tensor, "B N D"], token_ids: Int64[Tensor, "B K"]) -> Float[Tensor, "B K D"]:
    """Pick K tokens of each clip, in the order of `token_ids`."""
    return tokens.gather(1, token_ids.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def on_grid(
    tokens: Float[Tensor, "B K D"], token_ids: Int64[Tensor, "B K"], grid: TokenGrid
) -> Float[Tensor, "B T H W D"]:
    """Tokens at their places, zeros at the others."""
    everywhere = tokens.new_zeros(len(tokens), grid.num_tokens, tokens.shape[-1])
    return everywhere.scatter(1, token_ids.unsqueeze(-1).expand_as(tokens), tokens).unflatten(1, grid)


def tubelet_pixels(
    clips: Float[Tensor, "B C T H W"],
    tubelet: tuple[int, int, int],  # frames, height, width of one token
) -> Float[Tensor, "B N C_frames_height_width"]:  # all of the first colour, then all of the next
    """The pixels behind each token, tokens in the order of the grid."""
    return _tubelets(clips, tubelet).flatten(4).flatten(1, 3)


def gather_tubelets(
    clips: Float[Tensor, "B C T H W"],
    tubelet: tuple[int, int, int],
    token_ids: Int64[Tensor, "B K"],
) -> Float[Tensor, "B K C_frames_height_width"]:
    """`gather_tokens` of `tubelet_pixels`, without a copy of the tubelets that are not asked for."""
    tubelets = _tubelets(clips, tubelet)
    frame, row, column = TokenGrid(*tubelets.shape[1:4]).positions(token_ids).unbind(-1)
    clip = torch.arange(len(clips), device=clips.device).unsqueeze(1)
    return tubelets[clip, frame, row, column].flatten(2)


def _tubelets(clips: Tensor, tubelet: tuple[int, int, int]) -> Tensor:
    """A view (B, grid frames, rows, columns, C, frames, height, width)."""
    frames, height, width = tubelet
    cut = clips.unflatten(4, (-1, width)).unflatten(3, (-1, height)).unflatten(2, (-1, frames))
    return cut.permute(0, 2, 4, 6, 1, 3, 5, 7)


def clips_of_tubelets(
    pixels: Float[Tensor, "B N C_frames_height_width"], grid: TokenGrid, tubelet: tuple[int, int, int]
) -> Float[Tensor, "B C T H W"]:
    """Clips out of their tubelets: `tubelet_pixels` undone."""
    cut = pixels.unflatten(2, (-1, *tubelet)).unflatten(1, tuple(grid))  # (B, t, h, w, C, frames, height, width)
    return cut.permute(0, 4, 1, 5, 2, 6, 3, 7).flatten(6).flatten(4, 5).flatten(2, 3)
