"""The latent predictor: from context tokens and positions of hidden tubelets to their embeddings (arXiv 2404.08471)."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vjepa.grid import TokenGrid, gather_tokens, on_grid
from vjepa.masking import TubeMask
from vjepa.models.layers import Block, Checkpointing, MlpKind, ModalityEmbeddings, initialize_transformer
from vjepa.models.past_memory import PastMemory, first_contrast
from vjepa.models.position import Position, PositionKind


@final
class Predictor(nn.Module):
    """A narrow transformer over context tokens and one mask token per hidden tubelet.

    Args:
        encoder_dim: width of the encoder's tokens, in and out.
        embed_dim: width inside; 384 in every released model.
        num_mask_tokens: number of learned mask tokens (V-JEPA 1 has one for each mask strategy, V-JEPA 2 uses one).
        zero_init_mask_tokens: start mask tokens at zero, as released; otherwise normal with std 0.02.
        num_levels: output levels of the encoder, concatenated in its tokens; more than one are embedded by two layers
            (V-JEPA 2.1).
        target_dim: width of the target tokens, all levels together; `num_levels * encoder_dim` if None, and another one
            for a teacher of another width.
        predict_context: predict the context tokens too, by a separate head (V-JEPA 2.1).
        modality_embeddings: as for `VideoEncoder`.
        num_hypotheses: futures that can be predicted, each by a learned vector that is added to the mask tokens.
        memory_width: of a `PastMemory`: mask tokens start from what was seen around their place in earlier frames, and
            predictions are changes of the last token that was seen there. What moves goes to a neighbouring place, and
            most places stay as they are: attention must find that out (measured by us: docs/log.md). With a depth of
            0 nothing else is read, and every frame can be predicted from those before it in one pass
            (`vjepa.masking.NextFrames`). 0: mask tokens alone, as released.
        position, position_grid, mlp, activation_checkpointing: as for `VideoEncoder`.
    """

    def __init__(
        self,
        encoder_dim: int = 192,
        embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        position: PositionKind = "rotary",
        position_grid: tuple[int, int, int] | None = None,
        mlp: MlpKind = "gelu",
        num_mask_tokens: int = 1,
        zero_init_mask_tokens: bool = True,
        norm_eps: float = 1e-6,
        num_levels: int = 1,
        target_dim: int | None = None,
        predict_context: bool = False,
        modality_embeddings: bool = False,
        num_hypotheses: int = 1,
        memory_width: int = 0,
        activation_checkpointing: Checkpointing = False,
    ):
        super().__init__()
        if memory_width < 0:
            raise ValueError(f"memory_width ({memory_width}) must be 0, which is none, or more")
        if num_hypotheses < 1:
            raise ValueError(f"num_hypotheses ({num_hypotheses}) must be at least 1")
        self.num_hypotheses = num_hypotheses
        self.encoder_dim = encoder_dim
        self.num_levels = num_levels
        self.target_dim = target_dim or num_levels * encoder_dim
        if memory_width and self.target_dim != num_levels * encoder_dim:
            raise ValueError(
                f"with memory_width a prediction is a change of a token that is seen: target_dim ({target_dim}) must "
                f"be num_levels * encoder_dim ({num_levels * encoder_dim}), or memory_width 0"
            )
        self.embed: nn.Module = nn.Linear(encoder_dim, embed_dim)
        if num_levels > 1:
            joined = nn.Linear(num_levels * encoder_dim, encoder_dim)
            self.embed = nn.Sequential(joined, nn.GELU(), nn.Linear(encoder_dim, embed_dim))
        self.modality = ModalityEmbeddings(embed_dim) if modality_embeddings else None
        self.mask_tokens = nn.ParameterList(nn.Parameter(torch.zeros(1, 1, embed_dim)) for _ in range(num_mask_tokens))
        self.hypotheses = nn.Parameter(0.02 * torch.randn(num_hypotheses, embed_dim)) if num_hypotheses > 1 else None
        self.memory = PastMemory(self.target_dim, memory_width, embed_dim) if memory_width else None
        self.position = Position(position, embed_dim, num_heads, position_grid)
        blocks = [Block(embed_dim, num_heads, mlp_ratio, mlp, norm_eps, activation_checkpointing) for _ in range(depth)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.proj = nn.Linear(embed_dim, self.target_dim)
        self.context_proj = nn.Linear(embed_dim, self.target_dim) if predict_context else None
        initialize_transformer(self, blocks)
        if not zero_init_mask_tokens:
            for token in self.mask_tokens:
                nn.init.trunc_normal_(token, std=0.02)

    @property
    def reads_past_alone(self) -> bool:
        """Whether no prediction depends on tokens of its own frame or of later ones."""
        return self.memory is not None and not self.blocks

    def require_encoder_of(self, embed_dim: int) -> None:
        """Raise ValueError unless the encoder has this predictor's `encoder_dim`."""
        if self.encoder_dim != embed_dim:
            raise ValueError(
                f"the predictor's encoder_dim ({self.encoder_dim}) must be the encoder's embed_dim ({embed_dim})"
            )

    def freeze_unused(self, mask_tokens: bool, context: bool) -> None:
        """Freeze parameters that no step uses: DDP waits for gradients, and AdamW decays the rest.

        `mask_tokens`: all but the first; `context`: the head for visible tokens.
        """
        if mask_tokens:
            for unused in self.mask_tokens[1:]:
                unused.requires_grad_(False)
        if context and self.context_proj is not None:
            self.context_proj.requires_grad_(False)

    def forward(
        self,
        context: Float[Tensor, "B Nc num_levels_encoder_dim"],  # tokens of mask.context_ids
        mask: TubeMask,
        grid: TokenGrid,
        mask_token: int = 0,
        is_image: bool = False,
        hypothesis: int = 0,
    ) -> Float[Tensor, "B Nt target_dim"]:  # predictions for mask.target_ids
        """Raises ValueError where there is no such mask token."""
        return self._predictions([context], [mask], grid, [mask_token], is_image, hypothesis)[0][0]

    def forward_with_context(
        self,
        context: Float[Tensor, "B Nc num_levels_encoder_dim"],
        mask: TubeMask,
        grid: TokenGrid,
        mask_token: int = 0,
        is_image: bool = False,
    ) -> tuple[Tensor, Tensor]:  # (B, Nt, target_dim) for mask.target_ids, (B, Nc, target_dim) for mask.context_ids
        """Predictions for both. Raises ValueError where there is no such mask token, or no head for the context."""
        hidden, visible = self.forward_masks([context], [mask], grid, [mask_token], is_image, with_context=True)
        return hidden[0], visible[0]

    def forward_masks(
        self,
        contexts: Sequence[Float[Tensor, "B _ num_levels_encoder_dim"]],
        masks: Sequence[TubeMask],
        grid: TokenGrid,
        mask_tokens: Sequence[int],  # one for each mask
        is_image: bool = False,
        with_context: bool = False,
    ) -> tuple[
        list[Tensor], list[Tensor]
    ]:  # (B, Nt, target_dim) and, where asked for, (B, Nc, target_dim) of each mask
        """`forward`, or `forward_with_context`, of several masks in one pass, whose attention is by mask."""
        if with_context and self.context_proj is None:
            raise ValueError("this predictor has no head for context tokens; give it predict_context")
        hidden, visible = self._predictions(contexts, masks, grid, mask_tokens, is_image)
        if not with_context or self.context_proj is None:
            return hidden, []
        lengths = [context.shape[1] for context in contexts]
        return hidden, list(self.context_proj(self.norm(torch.cat(visible, dim=1))).split(lengths, dim=1))

    def _predictions(
        self,
        contexts: Sequence[Tensor],
        masks: Sequence[TubeMask],
        grid: TokenGrid,
        mask_tokens: Sequence[int],
        is_image: bool,
        hypothesis: int = 0,
    ) -> tuple[list[Tensor], list[Tensor]]:  # predictions of hidden tokens, and tokens of visible ones, of each mask
        lengths = [mask.context_ids.shape[1] + mask.target_ids.shape[1] for mask in masks]
        inputs = [
            self._input(context, mask, grid, mask_token, is_image, hypothesis)
            for context, mask, mask_token in zip(contexts, masks, mask_tokens, strict=True)
        ]
        tokens, token_ids = (torch.cat(parts, dim=1) for parts in zip(*(each[:2] for each in inputs), strict=True))
        tokens = self.position.added(tokens, grid, token_ids)
        rotary = self.position.rotary(grid, tokens.device, token_ids)
        within = lengths if len(lengths) > 1 else None
        for block in self.blocks:
            tokens = block(tokens, rotary, lengths=within)
        visible, hidden = [], []
        for of_mask, context, (_, _, order) in zip(tokens.split(lengths, dim=1), contexts, inputs, strict=True):
            places = order.argsort(dim=1)  # of the context's tokens, then of the hidden ones
            visible.append(gather_tokens(of_mask, places[:, : context.shape[1]]))
            hidden.append(gather_tokens(of_mask, places[:, context.shape[1] :]))
        changes = self.proj(self.norm(torch.cat(hidden, dim=1))).split([part.shape[1] for part in hidden], dim=1)
        if self.memory is None:
            return list(changes), visible
        return [
            last_seen(context, mask, grid) + first_contrast(context, mask, grid)[1] * change
            for context, mask, change in zip(contexts, masks, changes, strict=True)
        ], visible

    def _input(
        self, context: Tensor, mask: TubeMask, grid: TokenGrid, mask_token: int, is_image: bool, hypothesis: int
    ) -> tuple[Tensor, Tensor, Tensor]:  # (B, K, embed_dim) in the clip's order, (B, K) token ids, (B, K) that order
        if mask_token >= len(self.mask_tokens):
            raise ValueError(
                f"mask token {mask_token} was asked for, but num_mask_tokens is {len(self.mask_tokens)}; "
                f"with one token per mask there must be as many tokens as masks"
            )
        token_ids = torch.cat((mask.context_ids, mask.target_ids), dim=1)
        # Attention ignores the order of tokens, but rounding does not, and AdamW magnifies it: in the clip's order
        # whole training steps agree with the reference to 4e-6, with targets after the context to 1.3e-5.
        order = token_ids.argsort(dim=1)
        hidden = self.mask_tokens[mask_token]
        if self.hypotheses is not None:
            hidden = hidden + self.hypotheses[hypothesis]
        hidden = hidden.expand(*mask.target_ids.shape, -1)
        if self.memory is not None:
            hidden = hidden + self.memory(context, mask, grid)
        context = self.embed(context)
        tokens = gather_tokens(torch.cat((context, hidden.to(context.dtype)), dim=1), order)
        if self.modality is not None:
            tokens = self.modality(tokens, is_image)
        return tokens, token_ids.gather(1, order), order


def last_seen(context: Float[Tensor, "B Nc D"], mask: TubeMask, grid: TokenGrid) -> Float[Tensor, "B Nt D"]:
    """For each hidden tubelet, the visible token at its place that comes last before it; zeros where there is none."""
    seen = on_grid(context, mask.context_ids, grid)
    is_seen = on_grid(torch.ones_like(context[..., :1]), mask.context_ids, grid)
    latest = [torch.zeros_like(seen[:, 0])]
    for frame in range(grid.frames - 1):
        latest.append(torch.where(is_seen[:, frame] > 0, seen[:, frame], latest[-1]))
    return gather_tokens(torch.stack(latest, dim=1).flatten(1, 3), mask.target_ids)
