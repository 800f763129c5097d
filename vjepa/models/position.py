"""Position embeddings: 3-D rotary and 3-D sine-cosine.

Released weights need all four kinds:
* "rotary": an ordinary rotation of adjacent channel pairs on each axis (V-JEPA 2.1).
* "rotary_tiled": as V-JEPA 2 was trained. The frequency table is tiled instead of repeated in pairs, so the two
  channels of a pair turn by different angles. It isn't a rotation, but the released V-JEPA 2 weights need it.
* "sincos_uniform": added table, the same width for time, height and width (V-JEPA 1, `uniform_power`).
* "sincos": added table, half of the channels for time, a quarter each for height and width.
"""

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64, Num
from torch import Tensor, nn

from vjepa.grid import TokenGrid

PositionKind = Literal["rotary", "rotary_tiled", "sincos_uniform", "sincos"]


class Position(nn.Module):
    """Position embedding for any grid; has no parameters and no state-dict entry.

    `position_grid` is the token grid of training: sine-cosine tables are interpolated from it, and rotary rows and
    columns are stretched to it (V-JEPA 2.1). With None positions are the grid's own.
    """

    def __init__(
        self,
        kind: PositionKind,
        embed_dim: int,
        num_heads: int,
        position_grid: tuple[int, int, int] | None = None,
    ):
        super().__init__()
        self.kind = kind
        self.embed_dim = embed_dim
        self.head_dim = channels_per_head(embed_dim, num_heads)
        self.position_grid = None if position_grid is None else TokenGrid(*position_grid)
        if self.is_rotary and self.head_dim < 6:
            raise ValueError(f"rotary positions need at least 6 channels per head, this model has {self.head_dim}")
        self.known_table: Tensor | None
        has_table = self.position_grid is not None and not self.is_rotary
        table = self._sincos(TokenGrid(*position_grid)) if has_table else None  # type: ignore[misc]
        self.register_buffer("known_table", table, persistent=False)
        self._kept_rotary: tuple[tuple[TokenGrid, torch.device], RotaryTable] | None = None

    @property
    def is_rotary(self) -> bool:
        return self.kind in ("rotary", "rotary_tiled")

    def added(
        self,
        tokens: Float[Tensor, "B K D"],
        grid: TokenGrid,
        token_ids: Int64[Tensor, "B K"] | None = None,  # all tokens of the grid if None
    ) -> Float[Tensor, "B K D"]:
        """Tokens with their sine-cosine table added; as they are for the rotary kinds."""
        if self.is_rotary:
            return tokens
        if self.known_table is not None and self.position_grid is not None:
            table = resized_table(self.known_table, self.position_grid, grid)
        else:
            table = self._sincos(grid).to(tokens.device)
        return tokens + (table if token_ids is None else table[token_ids])

    def rotary(
        self,
        grid: TokenGrid,
        device: torch.device,
        token_ids: Int64[Tensor, "B K"] | None = None,  # all tokens of the grid if None
    ) -> "RotaryTable | None":
        """The rotation for these tokens; None for the sine-cosine kinds."""
        if not self.is_rotary:
            return None
        table = self._rotary_of(grid, device)
        if token_ids is None:
            return RotaryTable(*(factor[None, None] for factor in table))
        return RotaryTable(*(factor[token_ids].unsqueeze(1) for factor in table))

    def _rotary_of(self, grid: TokenGrid, device: torch.device) -> "RotaryTable":
        """The table of a whole grid, (N, head_dim), kept for the next clip of its size."""
        if self._kept_rotary is not None and self._kept_rotary[0] == (grid, device):
            return self._kept_rotary[1]
        with torch.inference_mode(False):  # a table made in validation is used in training too
            ids = torch.arange(grid.num_tokens, device=device)
            positions = scaled_positions(grid.positions(ids), grid, self.position_grid)
            table = rotary_table(positions, self.head_dim, tiled=self.kind == "rotary_tiled")
        if not torch.compiler.is_compiling():
            self._kept_rotary = ((grid, device), table)
        return table

    def _sincos(self, grid: TokenGrid) -> Tensor:
        return sincos_table(grid, self.embed_dim, uniform=self.kind == "sincos_uniform")


def channels_per_head(embed_dim: int, num_heads: int) -> int:
    """Raises ValueError where `embed_dim` is no multiple of `num_heads`."""
    if embed_dim % num_heads:
        raise ValueError(f"embed_dim ({embed_dim}) must be a multiple of num_heads ({num_heads})")
    return embed_dim // num_heads


class RotaryTable(NamedTuple):
    """Factors of `rotate`, computed once for all layers; they broadcast over batch and heads."""

    cosine: Float[Tensor, "... K head_dim"]
    sine: Float[Tensor, "... K head_dim"]  # sign of the pair's first channel folded in


def with_unrotated_first(table: RotaryTable | None) -> RotaryTable | None:
    """The table with a token before the others that has no position, so that nothing turns it."""
    if table is None:
        return None
    return RotaryTable(F.pad(table.cosine, (0, 0, 1, 0), value=1.0), F.pad(table.sine, (0, 0, 1, 0)))


def rotary_table(
    positions: Num[Tensor, "K 3"],  # frame, row, column; integer or scaled
    head_dim: int,
    tiled: bool,
) -> RotaryTable:
    """Angles for all three axes in fp32, whatever the autocast.

    Each axis turns 2 * ((head_dim // 3) // 2) channels, in the order time, height, width; the rest stays as it is.
    """
    pairs = head_dim // 3 // 2
    frequency = 1.0 / 10000.0 ** (torch.arange(pairs, dtype=torch.float32, device=positions.device) / pairs)
    angle = positions.float().unsqueeze(-1) * frequency  # (K, 3, pairs)
    # The released V-JEPA 2 weights need tiled frequencies; an ordinary rotation repeats each for both of a pair.
    angle = angle.repeat(1, 1, 2) if tiled else angle.repeat_interleave(2, dim=-1)
    angle = F.pad(angle.flatten(1), (0, head_dim - 6 * pairs))  # angle 0 turns nothing
    sine = angle.sin()
    sine[..., 0::2].neg_()
    return RotaryTable(angle.cos(), sine)


def rotate(
    x: Float[Tensor, "... B heads K head_dim"],  # queries, keys, or both
    table: RotaryTable,
) -> Float[Tensor, "... B heads K head_dim"]:
    """Turn each adjacent channel pair (a, b) into (a cos - b sin, b cos + a sin)."""
    partner = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return (x * table.cosine + partner * table.sine).to(x.dtype)


def rotate_into(
    out: Float[Tensor, "... B heads K head_dim"],
    x: Float[Tensor, "... B heads K head_dim"],
    table: RotaryTable,
    transposed: bool = False,
) -> None:
    """`rotate` without a copy of the swapped channels, or what it does to gradients; no gradient goes through it."""
    even, odd = table.sine[..., 0::2], table.sine[..., 1::2]
    first, second = (odd, even) if transposed else (even, odd)
    dtype = torch.result_type(x, table.cosine)
    exact = out if out.dtype == dtype else torch.empty_like(out, dtype=dtype)
    torch.mul(x, table.cosine, out=exact)
    exact[..., 0::2].addcmul_(x[..., 1::2], first)
    exact[..., 1::2].addcmul_(x[..., 0::2], second)
    if exact is not out:
        out.copy_(exact)


def scaled_positions(
    positions: Num[Tensor, "... 3"], grid: TokenGrid, position_grid: TokenGrid | None
) -> Num[Tensor, "... 3"]:
    """Stretch rows and columns so that `grid` spans what `position_grid` did (V-JEPA 2.1); time stays in tokens."""
    if position_grid is None:
        return positions
    scale = [
        1.0,
        (position_grid.height - 1) / max(1, grid.height - 1),
        (position_grid.width - 1) / max(1, grid.width - 1),
    ]
    return positions * torch.tensor(scale, device=positions.device)


def sincos_table(grid: TokenGrid, embed_dim: int, uniform: bool) -> Float32[Tensor, "N D"]:
    """Channels in the order time, height, width; on each axis all sines, then all cosines."""
    if uniform:
        widths = [2 * math.ceil(embed_dim / 6)] * 3
    else:
        if embed_dim % 8:
            raise ValueError(f"embed_dim ({embed_dim}) must be a multiple of 8 for position 'sincos'")
        widths = [embed_dim // 2, embed_dim // 4, embed_dim // 4]
    positions = grid.positions(torch.arange(grid.num_tokens)).double()
    parts = []
    for axis, width in enumerate(widths):
        frequency = 10000.0 ** (-torch.arange(width // 2, dtype=torch.float64) / (width / 2))
        angle = positions[:, axis, None] * frequency
        parts += [angle.sin(), angle.cos()]
    return torch.cat(parts, dim=1)[:, :embed_dim].float()


def resized_table(
    table: Float[Tensor, "N D"],  # of `source`
    source: TokenGrid,
    grid: TokenGrid,
) -> Float[Tensor, "N2 D"]:
    """A sine-cosine table for another grid: its first frames where only time is shorter, else interpolated."""
    if grid == source:
        return table
    if (grid.height, grid.width) == (source.height, source.width) and grid.frames < source.frames:
        return table[: grid.num_tokens]
    volume = table.T.reshape(1, -1, *source)
    scale = tuple(new / old for new, old in zip(grid, source, strict=True))
    return F.interpolate(volume, scale_factor=scale, mode="trilinear").flatten(2)[0].T
