"""What the networks of a training step gave, heard by hooks: no forward pass is added and nothing is changed."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vjepa.data.clips.batch import ClipBatch
from vjepa.grid import TokenGrid
from vjepa.objectives import normalized_targets
from vjepa.training import JEPA


class HeardTokens(NamedTuple):
    """Tokens of one step, of this rank's clips, detached."""

    grid: TokenGrid
    context: Tensor  # (B, Nc, D) of the first mask, last level
    target: Tensor  # (B, N, D) of whole clips, last level; of the context where no encoder saw whole clips
    predicted: list[Tensor]  # (B, Nt, target_dim) for each mask
    targets: Tensor | None  # (B, N, target_dim) as they are predicted; None where embeddings are not what is predicted


class StepTokens:
    """Listens from when it is made until it is closed."""

    def __init__(self, module: JEPA):
        self.module = module
        self._heard: dict[str, list[Tensor]] = {}
        encoder, levels = module.encoder_of_targets, module.predictor.num_levels
        # The last layers: whichever way a step calls its networks, their tokens go through these.
        layers: dict[str, nn.Module] = {
            "context": module.context_encoder.final_norm,
            "target": encoder.final_norm,
            "predicted": module.predictor.proj,
        }
        norms = [encoder.final_norm] if levels == 1 else list(encoder.level_norms)
        layers |= {f"level {number}": norm for number, norm in enumerate(norms)}
        self._num_levels = len(norms)
        self._hooks = [layer.register_forward_hook(partial(self._keep, name)) for name, layer in layers.items()]

    def _keep(self, name: str, layer: nn.Module, inputs: tuple, tokens: Tensor) -> None:
        self._heard.setdefault(name, []).append(tokens.detach())

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def of_step(self, batch: ClipBatch) -> HeardTokens:
        """What was heard of the first step since it listens; then it may forget."""
        grid = self.module.context_encoder.grid_of(batch.clips)
        num_visible = batch.masks[0].context_ids.shape[1]
        # One encoder may give the tokens of whole clips and of contexts: they are told apart by their number.
        context = _first_of_length(self._heard["context"], num_visible)
        whole = _first_of_length(self._heard["target"], grid.num_tokens)
        targets = None
        predicted = self._heard["predicted"][: len(batch.masks)]
        if isinstance(self.module, JEPA) and whole is not None:
            levels = [_first_of_length(self._heard[f"level {n}"], grid.num_tokens) for n in range(self._num_levels)]
            joined = torch.cat([level for level in levels if level is not None], dim=-1)
            targets = normalized_targets(joined, self._num_levels)
        context = self._heard["context"][0] if context is None else context
        return HeardTokens(grid, context, context if whole is None else whole, predicted, targets)


def _first_of_length(heard: list[Tensor], num_tokens: int) -> Tensor | None:
    return next((tokens for tokens in heard if tokens.shape[1] == num_tokens), None)
