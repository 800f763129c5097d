"""A small decoder from frozen embeddings to pixels: only to look at what they hold. Nothing learns from it.

V-JEPA looks at its predictions through a diffusion model (arXiv 2404.08471, section 6); this one is plain regression.
It is given nothing but embeddings: what it shows of a clip is in them, and what they do not tell blurs.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from vjepa.data.clips.batch import PIXEL_MEAN, PIXEL_STD, normalize_clips
from vjepa.grid import TokenGrid, clips_of_tubelets, tubelet_pixels
from vjepa.models import VideoEncoder
from vjepa.models.layers import Block, initialize_transformer
from vjepa.models.position import Position
from vjepa.objectives import normalized_targets
from vjepa.objectives.pixel_prediction import pixel_prediction_loss


class LatentDecoder(nn.Module):
    """A narrow transformer from normalised tokens of whole clips to the pixels of each token's tubelet.

    Args:
        encoder_dim: width of the tokens, each normalised as targets of prediction are: so predicted tokens fit, too.
        tubelet: frames, height and width of a token.
    """

    def __init__(
        self,
        encoder_dim: int,
        tubelet: tuple[int, int, int],
        embed_dim: int = 96,
        depth: int = 1,
        num_heads: int = 4,
    ):
        super().__init__()
        frames, height, width = tubelet
        self.tubelet = tubelet
        self.embed = nn.Linear(encoder_dim, embed_dim)
        self.position = Position("rotary", embed_dim, num_heads)
        blocks = [Block(embed_dim, num_heads) for _ in range(depth)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(embed_dim)
        self.proj = nn.Linear(embed_dim, 3 * frames * height * width)
        initialize_transformer(self, blocks)

    def forward(
        self,
        tokens: Tensor,  # (B, N, D) of all places of the grid, normalised
        grid: TokenGrid,
    ) -> Tensor:  # (B, N, P)
        rotary = self.position.rotary(grid, tokens.device)
        hidden = self.embed(tokens)
        for block in self.blocks:
            hidden = block(hidden, rotary)
        return self.proj(self.norm(hidden))

    @torch.no_grad()
    def clips(
        self,
        tokens: Tensor,  # (B, N, D) normalised
        grid: TokenGrid,
    ) -> Tensor:  # (B, 3, T, H, W) uint8
        return displayable(clips_of_tubelets(self(tokens, grid), grid, self.tubelet))


def train_latent_decoder(
    encoder: VideoEncoder,  # is not changed
    batches: Iterable[Tensor],  # (B, 3, T, H, W) uint8 each; a step for each
    num_steps: int,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> LatentDecoder:
    """A decoder of this encoder's tokens of whole clips, trained for `num_steps` at most, by Adam and a cosine."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        decoder = LatentDecoder(encoder.embed_dim, encoder.tubelet)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    for _, clips in zip(range(num_steps), batches, strict=False):
        pixels = tubelet_pixels(normalize_clips(clips), encoder.tubelet)
        predicted = decoder(frozen_tokens(encoder, clips), encoder.grid_of(clips))
        optimizer.zero_grad()
        pixel_prediction_loss(predicted, pixels).backward()
        optimizer.step()
        schedule.step()
    return decoder.eval().requires_grad_(False)


@torch.no_grad()
def frozen_tokens(
    encoder: VideoEncoder,
    clips: Tensor,  # (B, 3, T, H, W) uint8
    token_ids: Tensor | None = None,  # (B, K) int64: of these alone, as if nothing else were there; all if None
) -> Tensor:  # (B, K or N, D)
    """Tokens, each normalised as targets of prediction are."""
    return normalized_targets(encoder(normalize_clips(clips), token_ids))


def displayable(
    clips: Tensor,  # (B, 3, T, H, W) normalised
) -> Tensor:  # (B, 3, T, H, W) uint8
    """Normalised pixels as pixels again, for the eye."""
    mean, std = (torch.tensor(values, device=clips.device).view(3, 1, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
    return ((clips * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)
