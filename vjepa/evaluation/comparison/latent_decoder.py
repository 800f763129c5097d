"""A small decoder from frozen embeddings to pixels, to visualise what they contain. Nothing learns from it.

V-JEPA visualises its predictions by a diffusion model (arXiv 2404.08471, section 6); this one is plain regression.
It sees only embeddings: details that they do not contain are blurred.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from vjepa.data.clips.batch import PIXEL_MEAN, PIXEL_STD, normalize_clips
from vjepa.grid import TokenGrid, clips_of_tubelets, tubelet_pixels
from vjepa.interop.networks import seeded
from vjepa.models import VideoEncoder
from vjepa.models.layers import Block, initialize_transformer
from vjepa.models.position import Position
from vjepa.objectives import normalized_targets
from vjepa.objectives.pixel_prediction import pixel_prediction_loss


class LatentDecoder(nn.Module):
    """A narrow transformer from normalised tokens of whole clips to the pixels of each token's tubelet.

    Args:
        encoder_dim: width of the tokens, normalised like targets of prediction, so that predicted tokens fit, too.
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
        tokens: Float[Tensor, "B N D"],  # of the whole grid, normalised
        grid: TokenGrid,
    ) -> Float[Tensor, "B N P"]:
        rotary = self.position.rotary(grid, tokens.device)
        hidden = self.embed(tokens)
        for block in self.blocks:
            hidden = block(hidden, rotary)
        return self.proj(self.norm(hidden))

    @torch.no_grad()
    def clips(
        self,
        tokens: Float[Tensor, "B N D"],  # normalised
        grid: TokenGrid,
    ) -> UInt8[Tensor, "B 3 T H W"]:
        return displayable(clips_of_tubelets(self(tokens, grid), grid, self.tubelet))


def train_latent_decoder(
    encoder: VideoEncoder,  # is not changed
    batches: Iterable[Tensor],  # (B, 3, T, H, W) uint8 each; a step for each
    num_steps: int,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> LatentDecoder:
    """A decoder of this encoder's tokens of whole clips, trained for at most `num_steps` by Adam with a cosine."""
    with seeded(seed):
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
    clips: UInt8[Tensor, "B 3 T H W"],
    token_ids: Int64[Tensor, "B K"] | None = None,  # of these alone, as if nothing else were there; all if None
) -> Float[Tensor, "B K D"]:
    """Tokens, each normalised like targets of prediction."""
    return normalized_targets(encoder(normalize_clips(clips), token_ids))


def displayable(
    clips: Float[Tensor, "B 3 T H W"],  # normalised
) -> UInt8[Tensor, "B 3 T H W"]:
    """Normalised pixels as displayable ones."""
    mean, std = (torch.tensor(values, device=clips.device).view(3, 1, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
    return ((clips * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)
