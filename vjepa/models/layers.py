"""Parts of a video transformer: tubelet embedding, attention, MLPs, pre-norm block (V-JEPA 1, 2 and 2.1)."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vjepa.grid import gather_tubelets, tubelet_pixels
from vjepa.models.position import RotaryTable, channels_per_head, rotate, rotate_into

MlpKind = Literal["gelu", "swiglu"]
AttentionKind = Literal["full", "causal"]
Checkpointing = bool | Literal["selective"]


class TubeletEmbedding(nn.Module):
    """Cuts a clip into tubelets and projects each to a token, all or only the given ones.

    Of B * V rows of token ids, V rows that follow each other are of one clip; its pixels are not copied for each.
    """

    def __init__(self, tubelet: tuple[int, int, int], embed_dim: int, in_channels: int = 3):
        super().__init__()
        self.tubelet = tubelet
        # Held as a Conv3d so that weights have the field's shape; applied as a linear map on tubelets.
        self.proj = nn.Conv3d(in_channels, embed_dim, kernel_size=self.tubelet, stride=self.tubelet)

    def forward(
        self,
        clips: Float[Tensor, "B C T H W"],
        token_ids: Int64[Tensor, "rows K"] | None = None,  # all tokens if None
    ) -> Float[Tensor, "rows K D"]:
        if token_ids is None:
            tubelets = tubelet_pixels(clips, self.tubelet)  # (B, N, C * frames * height * width)
        else:
            of_clip = token_ids.reshape(len(clips), -1)  # (B, V * K)
            tubelets = gather_tubelets(clips, self.tubelet, of_clip).view(*token_ids.shape, -1)
        return F.linear(tubelets, self.proj.weight.flatten(1), self.proj.bias)


class ModalityEmbeddings(nn.Module):
    """One learned vector for tokens of videos and one for images (V-JEPA 2.1), almost zero at first, as released."""

    def __init__(self, embed_dim: int):
        super().__init__()
        self.video = nn.Parameter(torch.randn(1, 1, embed_dim) * 1e-6)
        self.image = nn.Parameter(torch.randn(1, 1, embed_dim) * 1e-6)

    def forward(self, tokens: Float[Tensor, "B K D"], is_image: bool) -> Float[Tensor, "B K D"]:
        # A step has one modality; the other's vector gets a zero gradient, since DDP waits for every gradient.
        seen, other = (self.image, self.video) if is_image else (self.video, self.image)
        return tokens + (seen + 0 * other).to(tokens.dtype)


class Attention(nn.Module):
    """Multi-head self-attention, rotated by position where a table is given."""

    def __init__(self, embed_dim: int, num_heads: int):
        super().__init__()
        self.head_dim = channels_per_head(embed_dim, num_heads)
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.proj = nn.Linear(embed_dim, embed_dim)

    def forward(
        self,
        x: Float[Tensor, "B K D"],
        rotary: RotaryTable | None = None,
        visible: Bool[Tensor, "... K K"] | None = None,  # which keys each query attends to; all if None
        lengths: Sequence[int] | None = None,  # of sequences that lie one after the other; one of K tokens if None
    ) -> Float[Tensor, "B K D"]:
        return self.proj(_joined(self.attended(self.qkv(x), rotary, visible, lengths)))

    def attended(
        self,
        projected: Float[Tensor, "B K D3"],  # by `qkv`
        rotary: RotaryTable | None,
        visible: Bool[Tensor, "... K K"] | None,
        lengths: Sequence[int] | None,
    ) -> list[Float[Tensor, "B _ heads head_dim"]]:
        """What each token takes from those that it attends to, for each sequence."""
        queries_and_keys, value = self._heads(projected, rotary)
        lengths = lengths or [projected.shape[1]]
        attended = []
        for both, values in zip(queries_and_keys.split(lengths, dim=3), value.split(lengths, dim=2), strict=True):
            if torch.compiler.is_compiling():  # torch 2.13 expects other strides of slices than its kernel is given
                both, values = both.contiguous(), values.contiguous()
            query, key = both.unbind()
            attended.append(attention(query, key, values, visible).transpose(1, 2))
        return attended

    def heads(
        self, x: Float[Tensor, "B K D"], rotary: RotaryTable | None
    ) -> tuple[Tensor, Tensor, Tensor]:  # (B, heads, K, head_dim) each
        """Queries, keys and values; the first two rotated."""
        queries_and_keys, value = self._heads(self.qkv(x), rotary)
        query, key = queries_and_keys.unbind()
        return query, key, value

    def joined(self, attended: Float[Tensor, "B heads K head_dim"]) -> Float[Tensor, "B K D"]:
        return self.proj(attended.transpose(1, 2).flatten(2))

    def _heads(self, projected: Tensor, rotary: RotaryTable | None) -> tuple[Tensor, Tensor]:
        by_head = projected.unflatten(-1, (3, -1, self.head_dim))
        if torch.compiler.is_compiling():  # which fuses the formula
            return rotated_heads(by_head, rotary)
        return _RotatedHeads.apply(by_head, *(rotary or (None, None)))  # type: ignore[no-untyped-call]


def _joined(attended: Sequence[Tensor]) -> Tensor:  # of (B, length, heads, head_dim) each
    return (attended[0] if len(attended) == 1 else torch.cat(list(attended), dim=1)).flatten(2)


def rotated_heads(
    projected: Float[Tensor, "B K 3 heads head_dim"], rotary: RotaryTable | None
) -> tuple[Tensor, Tensor]:  # (2, B, heads, K, head_dim) queries and keys, rotated; (B, heads, K, head_dim) values
    queries_and_keys, value = projected.permute(2, 0, 3, 1, 4).split((2, 1))
    if rotary is not None:
        queries_and_keys = rotate(queries_and_keys, rotary)
    return queries_and_keys, value.squeeze(0)


class _RotatedHeads(torch.autograd.Function):
    """`rotated_heads` with a backward pass that writes its gradient once, where the layer before it reads it."""

    @staticmethod
    def forward(ctx: Any, projected: Tensor, cosine: Tensor | None, sine: Tensor | None) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(cosine, sine)
        by_kind = projected.permute(2, 0, 3, 1, 4)  # (3, B, heads, K, head_dim)
        if cosine is None or sine is None:
            return by_kind[:2], by_kind[2]
        # In the order of its dimensions, as products of matrices read it. A view of the values would keep all else.
        heads = torch.empty(by_kind.shape, dtype=projected.dtype, device=projected.device)
        rotate_into(heads[:2], by_kind[:2], RotaryTable(cosine, sine))
        heads[2].copy_(by_kind[2])
        return heads[:2], heads[2]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_queries_and_keys: Tensor, of_values: Tensor) -> tuple[Tensor, None, None]:
        cosine, sine = ctx.saved_tensors
        clips, heads, tokens, head_dim = of_values.shape
        gradient = of_values.new_empty(clips, tokens, 3, heads, head_dim)
        by_kind = gradient.permute(2, 0, 3, 1, 4)
        by_kind[2].copy_(of_values)
        if cosine is None:
            by_kind[:2].copy_(of_queries_and_keys)
        else:
            rotate_into(by_kind[:2], of_queries_and_keys, RotaryTable(cosine, sine), transposed=True)
        return gradient, None, None


def attention(
    query: Float[Tensor, "B heads Kq head_dim"],
    key: Float[Tensor, "B heads Kk head_dim"],
    value: Float[Tensor, "B heads Kk head_dim"],
    visible: Bool[Tensor, "... Kq Kk"] | None = None,  # which keys each query attends to, of each clip or of all
) -> Float[Tensor, "B heads Kq head_dim"]:
    """Softmax attention, fused or written out, whichever is faster on this device."""
    if written_out_is_faster(key):
        return written_out_attention(query, key, value, visible)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=visible)


def written_out_is_faster(key: Tensor) -> bool:
    """In bf16 on a CPU, up to some hundred keys (docs/results.md; benchmarks/bench_attention.py)."""
    return key.device.type == "cpu" and key.dtype == torch.bfloat16 and key.shape[2] <= 512


def written_out_attention(query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None = None) -> Tensor:
    """Attention as in the formula; stores the (Kq, Kk) weights."""
    weights = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    if visible is not None:
        weights = weights.masked_fill(~visible, float("-inf"))
    return weights.softmax(dim=-1).to(value.dtype) @ value


class GeluMlp(nn.Module):
    """Linear, exact GELU, linear."""

    def __init__(self, embed_dim: int, mlp_ratio: float):
        super().__init__()
        hidden = int(embed_dim * mlp_ratio)
        self.fc1 = nn.Linear(embed_dim, hidden)
        self.fc2 = nn.Linear(hidden, embed_dim)

    @property
    def output_layer(self) -> nn.Linear:
        return self.fc2

    def forward(self, x: Tensor) -> Tensor:
        return self.contracted(*self.expanded(x))

    def expanded(self, x: Tensor) -> tuple[Tensor]:
        return (self.fc1(x),)

    def contracted(self, hidden: Tensor) -> Tensor:
        return self.fc2(F.gelu(hidden))


class SwiGluMlp(nn.Module):
    """Gated MLP (Shazeer 2020, arXiv 2002.05202) at the cost of a GELU MLP: 2/3 of its width, to a multiple of 8.

    This is the released code's `wide_silu=True`; its `wide_silu=False` is 1.5 times the `mlp_ratio` here.
    """

    def __init__(self, embed_dim: int, mlp_ratio: float):
        super().__init__()
        hidden = math.ceil(int(int(embed_dim * mlp_ratio) * 2 / 3) / 8) * 8
        self.fc1 = nn.Linear(embed_dim, hidden)
        self.fc2 = nn.Linear(embed_dim, hidden)
        self.fc3 = nn.Linear(hidden, embed_dim)

    @property
    def output_layer(self) -> nn.Linear:
        return self.fc3

    def forward(self, x: Tensor) -> Tensor:
        return self.contracted(*self.expanded(x))

    def expanded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.fc1(x), self.fc2(x)

    def contracted(self, gate: Tensor, values: Tensor) -> Tensor:
        return self.fc3(F.silu(gate) * values)


class Block(nn.Module):
    """Pre-norm transformer block.

    Args:
        activation_checkpointing: what the backward pass computes again. False: nothing. "selective": norms, activations
            and joins, which cost little and whose results are half of what is kept. True: all, from the block's input.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        mlp: MlpKind = "gelu",
        norm_eps: float = 1e-6,
        activation_checkpointing: Checkpointing = False,
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.attn = Attention(embed_dim, num_heads)
        self.norm2 = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.mlp: GeluMlp | SwiGluMlp = (GeluMlp if mlp == "gelu" else SwiGluMlp)(embed_dim, mlp_ratio)
        self.activation_checkpointing = activation_checkpointing

    def forward(
        self,
        x: Float[Tensor, "B K D"],
        rotary: RotaryTable | None = None,
        visible: Bool[Tensor, "... K K"] | None = None,
        lengths: Sequence[int] | None = None,  # of sequences that lie one after the other; one of K tokens if None
    ) -> Float[Tensor, "B K D"]:
        if not self.activation_checkpointing or not torch.is_grad_enabled():
            return self._forward(x, rotary, visible, lengths)
        if self.activation_checkpointing == "selective":
            return self._forward_selective(x, rotary, visible, lengths)
        return _recomputed(self._forward, x, rotary, visible, lengths)

    def _forward(
        self, x: Tensor, rotary: RotaryTable | None, visible: Tensor | None, lengths: Sequence[int] | None
    ) -> Tensor:
        x = x + self.attn(self.norm1(x), rotary, visible, lengths)
        return x + self.mlp(self.norm2(x))

    def _forward_selective(
        self, x: Tensor, rotary: RotaryTable | None, visible: Tensor | None, lengths: Sequence[int] | None
    ) -> Tensor:
        """The same. Each part begins where something is kept and ends with a product, which is not computed again:
        checkpointing stops at the last input that the backward pass needs."""
        projected = _recomputed(lambda x: self.attn.qkv(self.norm1(x)), x)
        attended = self.attn.attended(projected, rotary, visible, lengths)
        x = x + _recomputed(lambda *parts: self.attn.proj(_joined(parts)), *attended)
        hidden = _recomputed(lambda x: self.mlp.expanded(self.norm2(x)), x)
        return x + _recomputed(self.mlp.contracted, *hidden)


def _recomputed(function: Callable[..., Any], *inputs: Any) -> Any:
    """The function's result, of which the backward pass keeps the inputs alone."""
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)


@torch.no_grad()
def initialize_transformer(module: nn.Module, blocks: Sequence[Block]) -> None:
    """Normal weights of std 0.02, zero biases; the last layers of block l's branches divided by sqrt(2 l), l from 1."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv3d):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    for number, block in enumerate(blocks, start=1):
        block.attn.proj.weight.div_(math.sqrt(2 * number))
        block.mlp.output_layer.weight.div_(math.sqrt(2 * number))
