"""The published algorithms in their plainest form, to compare with: as the papers and the released code describe them.

They run on the weights of our networks; `benchmarks/bench.py` checks that losses agree before it times anything.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vjepa.data.clips.batch import ClipBatch, normalize_clips
from vjepa.grid import TokenGrid
from vjepa.masking import TubeMask
from vjepa.models import Predictor, VideoEncoder
from vjepa.models.layers import Block
from vjepa.models.position import RotaryTable, rotary_table, rotate
from vjepa.training import JEPA


class ReferenceStep:
    """A training step of V-JEPA 2: a pass for each mask, positions turned anew in each layer, sums of AdamW one by one.

    `checkpointing`: whole blocks are computed again, as in every released configuration.
    """

    def __init__(self, model: JEPA, checkpointing: bool):
        self.model = copy.deepcopy(model)
        self.checkpointing = checkpointing
        trained = [part for part in self.model.parameters() if part.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.04, foreach=False)

    def loss(self, batch: ClipBatch) -> Tensor:
        clips, model = normalize_clips(batch.clips), self.model
        assert model.predictor is not None
        grid = model.context_encoder.grid_of(clips)
        with torch.no_grad():
            targets = self.encoded(model.target_encoder, clips, grid, None)
            targets = F.layer_norm(targets.float(), targets.shape[-1:])
        losses = []
        for mask in batch.masks:
            context = self.encoded(model.context_encoder, clips, grid, mask.context_ids)
            predicted = self.predicted(model.predictor, context, mask, grid)
            losses.append((predicted.float() - gathered(targets, mask.target_ids)).abs().mean())
        return torch.stack(losses).mean()

    def update(self, momentum: float = 0.99925) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad()
        pairs = zip(self.model.target_encoder.parameters(), self.model.context_encoder.parameters(), strict=True)
        with torch.no_grad():
            for target, source in pairs:
                target.mul_(momentum).add_((1 - momentum) * source.detach())

    def encoded(self, encoder: VideoEncoder, clips: Tensor, grid: TokenGrid, ids: Tensor | None) -> Tensor:
        tokens = encoder.patch_embed.proj(clips).flatten(2).transpose(1, 2)
        if ids is None:
            ids = torch.arange(grid.num_tokens, device=clips.device).expand(len(clips), -1)
        else:
            tokens = gathered(tokens, ids)
        for block in encoder.blocks:
            tokens = self.through(block, tokens, ids, grid)
        return encoder.norm(tokens)

    def predicted(self, predictor: Predictor, context: Tensor, mask: TubeMask, grid: TokenGrid) -> Tensor:
        tokens = predictor.embed(context)
        hidden = predictor.mask_tokens[0].expand(*mask.target_ids.shape, -1).to(tokens.dtype)
        tokens, ids = torch.cat((tokens, hidden), dim=1), torch.cat((mask.context_ids, mask.target_ids), dim=1)
        order = ids.argsort(dim=1)
        ids = torch.stack([ids[row, order[row]] for row in range(len(ids))])
        tokens = torch.stack([tokens[row, order[row]] for row in range(len(ids))])
        for block in predictor.blocks:
            tokens = self.through(block, tokens, ids, grid)
        back = order.argsort(dim=1)
        tokens = torch.stack([tokens[row, back[row]] for row in range(len(ids))])
        return predictor.proj(predictor.norm(tokens[:, context.shape[1] :]))

    def through(self, block: Block, tokens: Tensor, ids: Tensor, grid: TokenGrid) -> Tensor:
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(plain_block, block, tokens, ids, grid, use_reentrant=False)
        return plain_block(block, tokens, ids, grid)


def plain_block(block: Block, tokens: Tensor, ids: Tensor, grid: TokenGrid) -> Tensor:
    heads = block.attn.qkv(block.norm1(tokens)).unflatten(-1, (3, -1, block.attn.head_dim)).permute(2, 0, 3, 1, 4)
    query, key, value = heads.unbind()
    query, key = turned(query, ids, grid), turned(key, ids, grid)
    attended = F.scaled_dot_product_attention(query, key, value)
    tokens = tokens + block.attn.proj(attended.transpose(1, 2).flatten(2))
    return tokens + block.mlp(block.norm2(tokens))


def turned(x: Tensor, ids: Tensor, grid: TokenGrid) -> Tensor:
    """Positions, angles, sines and cosines of every head, for queries and for keys."""
    positions = grid.positions(ids.unsqueeze(1).expand(-1, x.shape[1], -1))  # (B, heads, K, 3)
    table = rotary_table(positions.flatten(0, 2), x.shape[-1], tiled=True)
    return rotate(x, RotaryTable(*(part.view(x.shape) for part in table)))


def gathered(tokens: Tensor, ids: Tensor) -> Tensor:
    return torch.gather(tokens, 1, ids.unsqueeze(-1).repeat(1, 1, tokens.shape[-1]))


def reference_masks(
    num_clips: int, grid: TokenGrid, num_blocks: int, block: tuple[int, int, int], generator: torch.Generator
) -> TubeMask:
    """Multi-block masks clip by clip and block by block, cut to the shortest of the batch."""
    context, target = [], []
    for _ in range(num_clips):
        visible = torch.zeros(tuple(grid), dtype=torch.int32)
        while not visible.any():
            visible = torch.ones(tuple(grid), dtype=torch.int32)
            for _ in range(num_blocks):
                corner = [
                    int(torch.randint(0, length - size + 1, (1,), generator=generator))
                    for length, size in zip(grid, block, strict=True)
                ]
                one = torch.ones(tuple(grid), dtype=torch.int32)
                one[tuple(slice(start, start + size) for start, size in zip(corner, block, strict=True))] = 0
                visible *= one
        flat = visible.flatten()
        context.append(torch.nonzero(flat).squeeze(1))
        target.append(torch.nonzero(flat == 0).squeeze(1))
    shortest = min(map(len, context)), min(map(len, target))
    return TubeMask(
        torch.utils.data.default_collate([ids[: shortest[0]] for ids in context]),
        torch.utils.data.default_collate([ids[: shortest[1]] for ids in target]),
    )
