"""FLOPs of a training step by formula, from the shapes of its batch: what MFU divides by the time.

2 per multiply-add, products of matrices alone; the backward pass counts twice the forward pass, and what is computed
again not at all. It is what torch's FlopCounterMode finds with attention by its formula (a test).
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torch import nn

from vjepa.data.clips.batch import ClipBatch
from vjepa.grid import TokenGrid
from vjepa.models import Predictor, VideoEncoder
from vjepa.models.layers import Block
from vjepa.models.past_memory import PastMemory

FORWARD, TRAINED = 1, 3  # passes in units of the forward pass


class BlockFlops(NamedTuple):
    """Of the forward pass through all blocks of a transformer."""

    of_token: int
    of_pair: int  # of a token and one that it attends to

    def of_sequence(self, length: int) -> int:
        return length * self.of_token + length**2 * self.of_pair


def block_flops(blocks: Iterable[nn.Module]) -> BlockFlops:
    parts = [block for block in blocks if isinstance(block, Block)]
    return BlockFlops(sum(map(linear_flops, parts)), sum(4 * block.attn.proj.in_features for block in parts))


def linear_flops(module: nn.Module | None) -> int:
    """Of all linear layers below a module, for one token."""
    if module is None:
        return 0
    return sum(2 * part.weight.numel() for part in module.modules() if isinstance(part, nn.Linear))


def encoder_flops(
    encoder: VideoEncoder,
    grid: TokenGrid,
    num_tokens: int,  # that are seen of the grid
    passes: int,  # FORWARD or TRAINED
    is_image: bool = False,
    pooled: bool = False,  # by `embed_clips`
) -> int:
    """Of one row of tokens. No gradient of pixels is computed, so that embedding them is cheaper to train."""
    embed = encoder.image_embed if is_image else encoder.patch_embed
    joins = encoder.cls_token is not None and (pooled or encoder.attention == "full")
    lengths = [num_tokens + joins]
    if encoder.per_frame:  # all frames, whatever is masked
        num_tokens, lengths = grid.num_tokens, [grid.height * grid.width] * grid.frames
    blocks = block_flops(encoder.blocks)
    embedding = min(passes, 2) * num_tokens * 2 * embed.proj.weight.numel()
    return embedding + passes * sum(blocks.of_sequence(length) for length in lengths)


def predictor_flops(
    predictor: Predictor, grid: TokenGrid, num_context: int, num_target: int, with_context: bool
) -> int:
    """Of the forward pass on one clip and mask, for each hypothesis."""
    flops = num_context * linear_flops(predictor.embed) + num_target * linear_flops(predictor.proj)
    flops += 0 if predictor.memory is None else memory_flops(predictor.memory, grid)
    flops += num_context * linear_flops(predictor.context_proj) if with_context else 0
    return flops + block_flops(predictor.blocks).of_sequence(num_context + num_target)


def memory_flops(memory: PastMemory, grid: TokenGrid) -> int:
    """Of the forward pass on one clip. All but the recurrent convolutions see each frame."""

    def of_place(*modules: nn.Module) -> int:
        parts = [part for module in modules for part in module.modules()]
        return sum(2 * part.weight.numel() for part in parts if isinstance(part, nn.Conv2d))

    of_frame = of_place(memory.read, memory.inputs, memory.expect)
    recurrent = of_place(memory.gates, memory.candidate)
    return grid.height * grid.width * (grid.frames * of_frame + (grid.frames - 1) * recurrent)


def step_flops(
    encoder: VideoEncoder,
    teacher: VideoEncoder | None,  # gives the targets without gradients; None: the encoder itself, trained
    predictor: Predictor | None,
    with_context: bool,  # visible tokens are predicted too
    num_clips: int,  # that are masked
    grid: TokenGrid,
    token_counts: Sequence[tuple[int, int]],  # visible and hidden tokens of each mask
    is_image: bool = False,
) -> int:
    """Of a step on masked clips, without views."""
    of_clip = sum(encoder_flops(encoder, grid, seen, TRAINED, is_image) for seen, _ in token_counts)
    if predictor is not None:
        source, passes = (encoder, TRAINED) if teacher is None else (teacher, FORWARD)
        of_clip += encoder_flops(source, grid, grid.num_tokens, passes, is_image)
        masks = sum(predictor_flops(predictor, grid, seen, hidden, with_context) for seen, hidden in token_counts)
        of_clip += TRAINED * predictor.num_hypotheses * masks
    return num_clips * of_clip


def view_flops(encoder: VideoEncoder, batch: ClipBatch) -> int:
    """Of embedding the views of a batch."""
    flops = 0
    for view in batch.views:
        clips = batch.clips if view.clips is None else view.clips
        grid = encoder.grid_of(clips)
        rows, tokens = (len(clips), grid.num_tokens) if view.token_ids is None else view.token_ids.shape
        flops += rows * encoder_flops(encoder, grid, tokens, TRAINED, encoder.is_image(clips), pooled=True)
    return flops
