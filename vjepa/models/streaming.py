"""Streaming: a clip that grows by frames, encoded at the cost of the new ones (block-causal attention, LeVJEPA).

No token of a causal encoder depends on later frames, so keys and values of earlier ones are kept and never change.
"""

from collections.abc import Callable, Iterable
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vjepa.grid import TokenGrid
from vjepa.models.layers import Block, attention
from vjepa.models.position import Position, RotaryTable


@final
class EncoderStream:
    """Tokens of a growing clip; together they are those of one pass over the whole clip. No gradients.

    Memory grows with the clip: keys and values of each block. Rotary positions, and sine-cosine ones without a
    `position_grid`, go on without end; a table of a `position_grid` ends with its frames, since for longer clips, or
    other frame sizes, it is stretched over the whole clip.

    Args:
        tubelet, embed, position, blocks, norm, class_token: of the encoder (`VideoEncoder.stream`).
    """

    def __init__(
        self,
        tubelet: tuple[int, int, int],
        embed: Callable[[Tensor], Tensor],
        position: Position,
        blocks: Iterable[nn.Module],
        norm: nn.LayerNorm,
        class_token: Tensor | None,
    ):
        self.tubelet = tubelet
        self.embed = embed
        self.position = position
        self.blocks = [block for block in blocks if isinstance(block, Block)]
        self.norm = norm
        self.class_token = class_token
        self.grid: TokenGrid | None = None  # of the clip so far
        self._keys_and_values: list[tuple[Tensor, Tensor]] = []  # (B, heads, tokens so far, head_dim), of each block
        self._sum: Tensor | None = None  # of tokens so far

    @torch.no_grad()
    def extend(
        self,
        frames: Float[Tensor, "B 3 t H W"],  # float, normalised; a whole number of tubelets
    ) -> Float[Tensor, "B new D"]:
        """Tokens of the new frames. Raises ValueError where they are no whole tubelets, or don't fit earlier ones."""
        new = TokenGrid.of_clip((frames.shape[2], *frames.shape[3:]), self.tubelet)
        self._require_fit(new, len(frames))
        tokens = torch.cat([self._extended(tubelet) for tubelet in frames.split(self.tubelet[0], dim=2)], dim=1)
        total = tokens.sum(dim=1)
        self._sum = total if self._sum is None else self._sum + total
        return tokens

    @torch.no_grad()
    def embed_clips(self) -> Float[Tensor, "B D"]:
        """One embedding for each clip so far, as of the encoder. Raises ValueError before the first frame."""
        if self.grid is None or self._sum is None:
            raise ValueError("this stream has no frame yet; give it one by extend")
        if self.class_token is None:
            return self._sum / self.grid.num_tokens
        token = self.class_token.to(self._sum.dtype).expand(len(self._sum), -1, -1)
        for number, block in enumerate(self.blocks):
            token, _ = _through(block, token, None, self._keys_and_values[number])
        return self.norm(token)[:, 0]

    def _extended(self, frames: Float[Tensor, "B 3 t H W"]) -> Float[Tensor, "B new D"]:
        """Tokens of one tubelet of frames, which attend to each other and to all that are kept."""
        _, height, width = TokenGrid.of_clip((frames.shape[2], *frames.shape[3:]), self.tubelet)
        first = 0 if self.grid is None else self.grid.num_tokens
        self.grid = TokenGrid(1 if self.grid is None else self.grid.frames + 1, height, width)
        ids = torch.arange(first, self.grid.num_tokens, device=frames.device)[None]
        tokens = self.position.added(self.embed(frames), self.grid, ids.expand(len(frames), -1))
        rotary = self.position.rotary(self.grid, frames.device, ids)
        kept = []
        for number, block in enumerate(self.blocks):
            past = self._keys_and_values[number] if self._keys_and_values else None
            tokens, keys_and_values = _through(block, tokens, rotary, past)
            kept.append(keys_and_values)
        self._keys_and_values = kept
        return self.norm(tokens)

    def _require_fit(self, new: TokenGrid, num_clips: int) -> None:
        past = 0 if self.grid is None else self.grid.frames
        if self.grid is not None and self._sum is not None:
            before, now = ((*self.grid[1:], len(self._sum)), (*new[1:], num_clips))
            if before != now:
                raise ValueError(
                    f"frames of {now[0]} x {now[1]} tokens of {now[2]} clips don't fit the stream's {before[0]} x "
                    f"{before[1]} tokens of {before[2]} clips; begin a new stream"
                )
        known = self.position.position_grid
        if known is None or self.position.is_rotary:
            return
        if known[1:] != new[1:] or past + new.frames > known.frames:
            raise ValueError(
                f"{past + new.frames} x {new.height} x {new.width} tokens don't fit the table of positions of "
                f"{known.frames} x {known.height} x {known.width}, which other clips stretch as a whole; stream frames "
                f"of its size, at most {known.frames * self.tubelet[0]} of them"
            )


def _through(
    block: Block, tokens: Tensor, rotary: RotaryTable | None, past: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """The block's formula for tokens that attend to themselves and the past; and all keys and values."""
    query, key, value = block.attn.heads(block.norm1(tokens), rotary)
    if past is not None:
        key, value = torch.cat((past[0], key), dim=2), torch.cat((past[1], value), dim=2)
    tokens = tokens + block.attn.joined(attention(query, key, value))
    return tokens + block.mlp(block.norm2(tokens)), (key, value)
