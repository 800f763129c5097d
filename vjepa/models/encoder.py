"""The video encoder: a ViT over tubelets.

V-JEPA (arXiv 2404.08471), V-JEPA 2 (2506.09985), V-JEPA 2.1 (2603.14482); with class token and causal attention LeVJEPA
(2608.27395).
"""

from collections.abc import Sequence
from typing import Literal, final, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from vjepa.grid import TokenGrid, gather_tokens
from vjepa.models.cosine_patches import start_as_cosines
from vjepa.models.layers import (
    AttentionKind,
    Block,
    Checkpointing,
    MlpKind,
    ModalityEmbeddings,
    TubeletEmbedding,
    initialize_transformer,
)
from vjepa.models.position import Position, PositionKind, with_unrotated_first
from vjepa.models.sizes import SIZES, EncoderSize
from vjepa.models.streaming import EncoderStream


@final
class VideoEncoder(nn.Module):
    """Encodes all tubelets of a clip, or only those that a mask leaves visible; any clip size.

    All functions that take `token_ids` take several rows of them for each clip: with B clips and B * V rows, V rows
    that follow each other belong to one clip. Each row is encoded by itself, as that many masked copies of the clip.

    Args:
        size: a row of `vjepa.models.sizes`, which gives embed_dim, depth, num_heads and mlp_ratio where they are None.
        tubelet: frames, height and width in pixels of one token.
        position: kind of position embedding; released V-JEPA 2 weights need "rotary_tiled".
        position_grid: token grid (frames, height, width) to which positions of other clip sizes are stretched.
        mlp: "gelu" in every released model.
        output_levels: indices of blocks whose tokens are outputs, each with its own norm; the last block must be one of
            them (V-JEPA 2.1 has four). None: the last block's, and any other block's through the same norm.
        image_tokenizer: embed clips of one frame as images, by a patch embedding of their own (V-JEPA 2.1).
        modality_embeddings: add a learned vector to tokens of videos and another to tokens of images (V-JEPA 2.1).
        class_token: a learned token without position that attends to all others; `embed_clips` returns it (LeVJEPA).
            With causal attention no other token attends to it, so that a loss of patch tokens alone doesn't train it.
        attention: "full", or "causal": a token attends to those of its own tubelet of frames and of earlier ones, so
            that no token depends on later frames, and `stream` can extend a clip (LeVJEPA). It belongs to the weights:
            causal weights give worse tokens with full attention, without any error.
        difference_gain: subtract each clip's mean frame and multiply by this, so that only changes remain; a still
            camera then sees no background (measured by us on small real video, docs/results.md). None: clips as given.
        patch_init: "normal" with a standard deviation of 0.02, as released, or "cosine": discrete cosines, for targets
            of an encoder's first weights.
        per_frame: encode the frames of each tubelet separately, without temporal position: an image encoder that takes
            clips. It can be masked by whole tubelets of frames alone.
        activation_checkpointing: what the backward pass computes again, for less memory and the same result: false,
            "selective" (norms and activations, a few percent of the time) or true (whole blocks, an eighth of it).
    """

    def __init__(
        self,
        size: EncoderSize = "tiny",
        embed_dim: int | None = None,
        depth: int | None = None,
        num_heads: int | None = None,
        mlp_ratio: float | None = None,
        tubelet: tuple[int, int, int] = (2, 16, 16),
        position: PositionKind = "rotary",
        position_grid: tuple[int, int, int] | None = None,
        mlp: MlpKind = "gelu",
        norm_eps: float = 1e-6,
        output_levels: tuple[int, ...] | None = None,
        image_tokenizer: bool = False,
        modality_embeddings: bool = False,
        class_token: bool = False,
        attention: AttentionKind = "full",
        difference_gain: float | None = None,
        per_frame: bool = False,
        patch_init: Literal["normal", "cosine"] = "normal",
        activation_checkpointing: Checkpointing = False,
    ):
        super().__init__()
        for name, given in (("embed_dim", embed_dim), ("depth", depth), ("num_heads", num_heads)):
            if given is not None and given < 1:
                raise ValueError(f"{name} ({given}) must be at least 1; left out, it is that of size '{size}'")
        row = SIZES[size]
        depth = depth or row.depth
        if output_levels is not None:
            output_levels = tuple(output_levels)
            if sorted({*output_levels, depth - 1}) != list(output_levels) or output_levels[0] < 0:
                raise ValueError(
                    f"output_levels ({list(output_levels)}) must be rising numbers of blocks from 0 that end with the "
                    f"last one, {depth - 1}"
                )
        if difference_gain is not None and image_tokenizer:
            raise ValueError("images have no changes to see: give either difference_gain or image_tokenizer")
        if per_frame and (difference_gain is not None or image_tokenizer or class_token or attention != "full"):
            raise ValueError(
                "per_frame sees frames alone already: leave out difference_gain, image_tokenizer, class_token and "
                "causal attention"
            )
        if attention not in get_args(AttentionKind):
            raise ValueError(f"attention ({attention}) must be one of {', '.join(get_args(AttentionKind))}")
        if attention == "causal" and difference_gain is not None:
            raise ValueError(
                "difference_gain subtracts the mean of all frames, so that earlier tokens would depend on later "
                "frames: give either difference_gain or causal attention"
            )
        self.embed_dim = embed_dim or row.embed_dim
        self.tubelet = tubelet
        self.norm_eps = norm_eps
        self.output_levels = output_levels
        self.image_tokenizer = image_tokenizer
        self.attention = attention
        self.difference_gain = difference_gain
        self.per_frame = per_frame
        num_heads, mlp_ratio = num_heads or row.num_heads, mlp_ratio or row.mlp_ratio
        self.patch_embed = TubeletEmbedding(self.tubelet, self.embed_dim)
        if image_tokenizer:
            self.image_embed = TubeletEmbedding((1, *self.tubelet[1:]), self.embed_dim)
        self.modality = ModalityEmbeddings(self.embed_dim) if modality_embeddings else None
        self.position = Position(position, self.embed_dim, num_heads, position_grid)
        blocks = [
            Block(self.embed_dim, num_heads, mlp_ratio, mlp, norm_eps, activation_checkpointing) for _ in range(depth)
        ]
        self.blocks = nn.ModuleList(blocks)
        if output_levels is None:
            self.norm = nn.LayerNorm(self.embed_dim, eps=norm_eps)
        else:
            self.level_norms = nn.ModuleList(nn.LayerNorm(self.embed_dim, eps=norm_eps) for _ in output_levels)
        initialize_transformer(self, blocks)
        if patch_init == "cosine":
            start_as_cosines(self.patch_embed.proj)
        self.cls_token: nn.Parameter | None = None
        if class_token:
            self.cls_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, self.embed_dim), std=0.02))

    def forward(
        self,
        clips: Float[Tensor, "B 3 T H W"],  # float, normalised
        token_ids: Int64[Tensor, "rows K"] | None = None,  # embed and encode only these; all if None
    ) -> Float[Tensor, "rows K D"]:
        """Tokens of the last level.

        Raises ValueError where the clip is no whole number of tubelets, or the number of rows no multiple of B.
        """
        return self.forward_levels(clips, [len(self.blocks) - 1], token_ids)[0]

    def forward_levels(
        self,
        clips: Float[Tensor, "B 3 T H W"],
        levels: Sequence[int],  # numbers of blocks, from 0
        token_ids: Int64[Tensor, "rows K"] | None = None,
    ) -> list[Tensor]:  # one (rows, K or N, D) per level, in the order of the blocks
        """Tokens after each of these blocks, through the final norm (as V-JEPA 2's `out_layers`) or their own norms."""
        if self.cls_token is None or self.attention == "causal":  # no token attends to the class token, if there is one
            return self._levels(clips, levels, token_ids)
        return [tokens[:, 1:] for tokens in self._levels(clips, levels, token_ids, self.cls_token)]

    def forward_outputs(
        self, clips: Float[Tensor, "B 3 T H W"], token_ids: Int64[Tensor, "rows K"] | None = None
    ) -> Float[Tensor, "rows K levels_D"]:
        """Tokens of all output levels, concatenated from shallow to deep."""
        levels = self.output_levels or (len(self.blocks) - 1,)
        return torch.cat(self.forward_levels(clips, levels, token_ids), dim=-1)

    def forward_masks(
        self, clips: Float[Tensor, "B 3 T H W"], num_levels: int, ids_of_masks: Sequence[Int64[Tensor, "B _"]]
    ) -> list[Float[Tensor, "B _ levels_D"]]:
        """One pass over the tokens of several masks, each of which sees its own alone; `encode_masks` says when."""
        lengths = [ids.shape[1] for ids in ids_of_masks]
        last = (len(self.blocks) - 1,)
        levels = last if num_levels == 1 else self.output_levels or last
        tokens = self._levels(clips, levels, torch.cat(list(ids_of_masks), dim=1), lengths=lengths)
        joined = tokens[0] if len(tokens) == 1 else torch.cat(tokens, dim=-1)
        return list(joined.split(lengths, dim=1))

    def embed_clips(
        self, clips: Float[Tensor, "B 3 T H W"], token_ids: Int64[Tensor, "rows K"] | None = None
    ) -> Float[Tensor, "rows D"]:
        """One embedding for each clip or row of token ids: the class token, or the mean of the last level's tokens."""
        last = len(self.blocks) - 1
        if self.cls_token is None:
            return self.forward_levels(clips, [last], token_ids)[0].mean(dim=1)
        return self._levels(clips, [last], token_ids, self.cls_token)[0][:, 0]

    def stream(self) -> EncoderStream:
        """A clip that frames are added to, at the cost of the new ones. Raises ValueError without causal attention."""
        if self.attention != "causal":
            raise ValueError(
                "this encoder has full attention, so that each new frame changes all earlier tokens; only one trained "
                "with attention: causal can be streamed"
            )
        return EncoderStream(self.tubelet, self._embedded, self.position, self.blocks, self.final_norm, self.cls_token)

    @property
    def num_output_levels(self) -> int:
        return len(self.output_levels) if self.output_levels is not None else 1

    @property
    def final_norm(self) -> nn.LayerNorm:
        """The norm of the last level."""
        return self.norm if self.output_levels is None else self.level_norms[-1]  # type: ignore[return-value]

    def is_image(self, clips: Tensor) -> bool:
        """Whether clips of this size are embedded as images."""
        return self.image_tokenizer and clips.shape[-3] == 1

    def tubelet_of(self, clips: Tensor) -> tuple[int, int, int]:
        return (1, *self.tubelet[1:]) if self.is_image(clips) else self.tubelet

    def grid_of(self, clips: Tensor) -> TokenGrid:
        """The token grid of clips of this size."""
        frames, height, width = clips.shape[-3:]
        return TokenGrid.of_clip((frames, height, width), self.tubelet_of(clips))

    def _levels(
        self,
        clips: Tensor,
        levels: Sequence[int],
        token_ids: Tensor | None,
        class_token: Tensor | None = None,
        lengths: Sequence[int] | None = None,
    ) -> list[Tensor]:
        """Normed tokens after each of these blocks, with the class token before them where it is given.

        `lengths`: of the sequences that a row of token ids joins.
        """
        known = range(len(self.blocks)) if self.output_levels is None else self.output_levels
        unknown = [level for level in levels if level not in known]
        if unknown:
            those = f"0 to {len(self.blocks) - 1}" if self.output_levels is None else str(list(known))
            raise ValueError(f"levels {unknown} do not exist; this encoder has levels {those}")
        if token_ids is not None and len(token_ids) % len(clips):
            raise ValueError(
                f"{len(token_ids)} rows of token ids must be a multiple of {len(clips)} clips: the same number of rows "
                f"for each clip, one after the other"
            )
        grid = self.grid_of(clips)
        if self.per_frame and token_ids is not None:
            require_whole_frames(token_ids, grid)
            rows = len(token_ids) // len(clips)
            return [
                gather_tokens(tokens.repeat_interleave(rows, dim=0), token_ids)
                for tokens in self._levels(clips, levels, None)
            ]
        if self.per_frame and grid.frames > 1:
            separate = clips.unflatten(2, (grid.frames, -1)).transpose(1, 2).flatten(0, 1)
            frame_tokens = self._levels(separate, levels, None)  # (B * frames, height * width, D) each
            return [tokens.unflatten(0, (-1, grid.frames)).flatten(1, 2) for tokens in frame_tokens]
        if self.difference_gain is not None:
            clips = (clips - clips.mean(dim=2, keepdim=True)).mul_(self.difference_gain)
        tokens = self.position.added(self._embedded(clips, token_ids), grid, token_ids)
        rotary = self.position.rotary(grid, clips.device, token_ids)
        if class_token is not None:
            tokens = torch.cat((class_token.to(tokens.dtype).expand(len(tokens), -1, -1), tokens), dim=1)
            rotary = with_unrotated_first(rotary)
        elif self.cls_token is not None and self.training:  # DDP waits for its gradient: it gets one of zero
            tokens = tokens + 0 * self.cls_token.to(tokens.dtype)
        visible = None
        if self.attention == "causal":
            visible = causal_visibility(grid, clips.device, token_ids, class_token is not None)
        outputs = []
        for level, block in enumerate(self.blocks[: max(levels) + 1]):
            tokens = block(tokens, rotary, visible, lengths)
            if level in levels:
                outputs.append(self._normalized(tokens, level))
        return outputs

    def _embedded(self, clips: Tensor, token_ids: Tensor | None = None) -> Tensor:
        is_image = self.is_image(clips)
        if not self.image_tokenizer:
            tokens = self.patch_embed(clips, token_ids)
        else:
            seen, other = (self.image_embed, self.patch_embed) if is_image else (self.patch_embed, self.image_embed)
            tokens = seen(clips, token_ids)
            if self.training:  # DDP waits for every gradient: the unused tokenizer gets one of zero
                tokens = tokens + 0 * sum(part.sum() for part in other.parameters())
        return tokens if self.modality is None else self.modality(tokens, is_image)

    def _normalized(self, tokens: Tensor, level: int) -> Tensor:
        if self.output_levels is None:
            return self.norm(tokens)
        return self.level_norms[self.output_levels.index(level)](tokens)


def require_whole_frames(token_ids: Int64[Tensor, "rows K"], grid: TokenGrid) -> None:
    """Raise ValueError unless each row has all tokens, or none, of each frame of the grid."""
    frames = F.one_hot(token_ids // (grid.height * grid.width), grid.frames).sum(1)  # (rows, frames) tokens of each
    if not ((frames == 0) | (frames == grid.height * grid.width)).all():
        raise ValueError(
            "an encoder with per_frame sees whole frames; it can be masked by whole tubelets of frames alone "
            "(vjepa.masking.FutureFrames)"
        )


def causal_visibility(
    grid: TokenGrid,
    device: torch.device,
    token_ids: Int64[Tensor, "B K"] | None = None,  # all tokens of the grid if None
    with_class_token: bool = False,  # before the others
) -> Bool[Tensor, "_ 1 K2 K2"]:
    """Which tokens (last axis) each token attends to: those of its own tubelet of frames and of earlier ones.

    The class token counts as one of a frame after the last: it sees all tokens, and no other token sees it.
    """
    ids = torch.arange(grid.num_tokens, device=device)[None] if token_ids is None else token_ids
    frame = ids // (grid.height * grid.width)
    if with_class_token:
        frame = F.pad(frame, (1, 0), value=grid.frames)
    return (frame.unsqueeze(2) >= frame.unsqueeze(1)).unsqueeze(1)


def encode_levels(
    encoder: VideoEncoder,
    clips: Float[Tensor, "B 3 T H W"],
    num_levels: int,  # 1, or that of the encoder's output levels
    token_ids: Int64[Tensor, "rows K"] | None = None,  # all tokens if None
) -> Float[Tensor, "rows K levels_D"]:
    """Tokens of the last level, or of all output levels concatenated, for a predictor of `num_levels` levels."""
    return encoder(clips, token_ids) if num_levels == 1 else encoder.forward_outputs(clips, token_ids)


def encode_masks(
    encoder: VideoEncoder,
    clips: Float[Tensor, "B 3 T H W"],
    num_levels: int,  # 1, or that of the encoder's output levels
    ids_of_masks: Sequence[Int64[Tensor, "B _"]],
) -> list[Float[Tensor, "B _ levels_D"]]:
    """`encode_levels` of each mask's tokens: all in one pass where the encoder can, its attention by mask."""
    if len(ids_of_masks) < 2 or encoder.per_frame or encoder.attention == "causal" or encoder.cls_token is not None:
        return [encode_levels(encoder, clips, num_levels, ids) for ids in ids_of_masks]
    return encoder.forward_masks(clips, num_levels, ids_of_masks)
