"""Memory of a training step by formula, from the shapes of its batch: states, and what is kept for the backward pass.

Tests hold activations against what autograd keeps on a CPU. On a GPU autocast computes norms in fp32, and keeps their
inputs so; fused attention is assumed.
"""

from typing import NamedTuple

from torch import nn

from vjepa.data.clips.batch import ClipBatch
from vjepa.models import Predictor, VideoEncoder
from vjepa.models.layers import Block, SwiGluMlp
from vjepa.models.position import Position
from vjepa.training.jepa import JEPA


class Numbers(NamedTuple):
    """How numbers are kept."""

    width: int  # bytes of an activation: 2 under autocast to 16 bits, else 4
    on_gpu: bool

    def between_blocks(self, position: Position) -> int:
        """Bytes of a number between blocks: a table of positions in fp32 that is added makes it so."""
        return self.width if position.is_rotary else 4

    def norm_input(self, position: Position) -> int:
        return 4 if self.on_gpu else self.between_blocks(position)


def state_bytes(model: JEPA) -> dict[str, int]:
    """Weights, their gradients, AdamW's two moments, and the target encoder (or teacher), by part."""
    trained = [part for network in model.trained_parts() for part in network.parameters()]
    weights = 4 * sum(part.numel() for part in trained)
    gradients = 4 * sum(part.numel() for part in trained if part.requires_grad)
    everything = 4 * sum(part.numel() for part in model.parameters())
    return {"weights": weights, "gradients": gradients, "optimizer": 2 * gradients, "target": everything - weights}


def sharded_state_bytes(
    model: JEPA,
    num_shards: int,  # of a node with hsdp, else all devices
) -> dict[str, int]:
    """`state_bytes` of a device with FSDP2: a shard of each part, and what a step has whole at a time.

    Whole are the weights and gradients outside of blocks, and those of two blocks: one computes while the next one is
    gathered.
    """
    shards = {name: -(-size // num_shards) for name, size in state_bytes(model).items()}
    parameters = 4 * sum(part.numel() for part in model.parameters())
    blocks = [
        4 * sum(part.numel() for part in block.parameters()) for block in model.modules() if isinstance(block, Block)
    ]
    return shards | {"whole blocks of FSDP2": 2 * (parameters - sum(blocks) + 2 * max(blocks, default=0))}


def checkpoint_bytes(model: JEPA) -> int:
    """Weights of all networks but a teacher, and the optimizer's moments."""
    states = state_bytes(model)
    teacher = 4 * sum(part.numel() for part in model.targets.parameters())
    return states["weights"] + states["target"] - teacher + states["optimizer"]


def activation_bytes(model: JEPA, batch: ClipBatch, numbers: Numbers) -> int:
    """Kept for the backward pass: masked clips, views, and the loss of latent prediction.

    What other terms of the loss keep is small beside it, and left out.
    """
    encoder, predictor = model.context_encoder, model.predictor
    counts = [(mask.context_ids.shape[1], mask.target_ids.shape[1]) for mask in batch.masks]
    clips = model.num_masked(batch)
    seen, hidden = (clips * sum(count) for count in zip(*counts, strict=True)) if counts else (0, 0)
    kept = _encoder_bytes(encoder, seen, len(counts), model.num_levels, numbers)
    if predictor is not None:
        shown = seen if model.predicts_context else 0
        width, rows = predictor.proj.in_features, predictor.num_hypotheses
        kept += rows * seen * predictor.num_levels * predictor.encoder_dim * numbers.width
        kept += rows * (seen + hidden) * width * numbers.width  # before they are put into the clip's order
        kept += rows * _blocks_bytes(predictor, seen + hidden, len(counts), numbers)
        kept += rows * (seen + hidden) * width * numbers.between_blocks(predictor.position)
        kept += (rows * hidden + shown) * width * (numbers.norm_input(predictor.position) + numbers.width)
        # The error and its absolute value, in fp32.
        kept += 8 * (hidden + shown) * predictor.target_dim
        if model.targets.encoder_without_gradients(model.target_encoder) is None:
            whole = clips * encoder.grid_of(batch.clips).num_tokens
            kept += _encoder_bytes(encoder, whole, 1, model.num_levels, numbers)
    for view in batch.views:
        given = batch.clips if view.clips is None else view.clips
        tokens = len(given) * encoder.grid_of(given).num_tokens if view.token_ids is None else view.token_ids.numel()
        kept += _encoder_bytes(encoder, tokens, 1, 1, numbers)
    trained = [encoder] if predictor is None else [encoder, predictor]
    return kept + sum(_cast_weights(network, numbers) for network in trained)


def working_bytes(model: JEPA, batch: ClipBatch, numbers: Numbers) -> int:
    """An estimate of what lives for a moment: normalised clips, and a block's intermediate results for whole clips."""
    encoder = model.context_encoder
    tokens = len(batch.clips) * encoder.grid_of(batch.clips).num_tokens
    block = encoder.blocks[0]
    assert isinstance(block, Block)
    widest = block.mlp.fc1.out_features + 4 * encoder.embed_dim
    return 4 * batch.clips.numel() + 2 * tokens * widest * numbers.width


def _encoder_bytes(encoder: VideoEncoder, tokens: int, sequences: int, levels: int, numbers: Numbers) -> int:
    """The pixels that are embedded, all blocks, and the inputs of the norms of these levels."""
    pixels = encoder.patch_embed.proj.weight[0].numel() * numbers.width
    norms = levels * encoder.embed_dim * numbers.norm_input(encoder.position)
    return tokens * (pixels + norms) + _blocks_bytes(encoder, tokens, sequences, numbers)


def _blocks_bytes(network: VideoEncoder | Predictor, tokens: int, sequences: int, numbers: Numbers) -> int:
    position = network.position
    table = 8 * position.head_dim if position.is_rotary else 0  # of rotation, once for all blocks
    blocks = [block for block in network.blocks if isinstance(block, Block)]
    return tokens * (table + sum(_bytes_by_token(block, position, sequences, numbers) for block in blocks))


def _bytes_by_token(block: Block, position: Position, sequences: int, numbers: Numbers) -> int:
    width, dim, hidden = numbers.width, block.attn.proj.in_features, block.mlp.fc1.out_features
    if block.activation_checkpointing is True:
        return dim * numbers.between_blocks(position)
    products = 2 if isinstance(block.mlp, SwiGluMlp) else 1
    # Queries, keys, values, what they give, and logarithms of sums; the first layer of the MLP.
    kept = 4 * dim * width + 4 * (dim // block.attn.head_dim) + products * hidden * width
    if block.activation_checkpointing == "selective":
        return kept + 2 * dim * numbers.between_blocks(position)
    # A GPU's kernel leaves the heads of one sequence side by side, so that nothing is joined.
    joined = 0 if numbers.on_gpu and sequences == 1 else dim * width
    norms = 2 * (dim * (numbers.norm_input(position) + width) + 8)
    return kept + joined + norms + products * hidden * width


def _cast_weights(network: nn.Module, numbers: Numbers) -> int:
    """Copies of weights in 16 bits, which autocast makes; checkpointing keeps none."""
    if numbers.width == 4:
        return 0
    kept = [part for part in network.modules() if isinstance(part, Block) and not part.activation_checkpointing]
    return sum(2 * layer.weight.numel() for part in kept for layer in part.modules() if isinstance(layer, nn.Linear))
