"""Regularizers: anti-collapse terms on embeddings, where no moving average prevents collapse.

A predictor is never wrong about tokens that are always the same. Regularizers require that clips differ.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Literal, final, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn

from vjepa.objectives.projector import Projector
from vjepa.objectives.term import ClipStep, ClipTerm, TermValue

Over = Literal["clips", "places"]


class Regularizer(nn.Module):
    """A loss on the embeddings of a batch, over all ranks. Subclasses implement `compare`.

    Args:
        projector: between tokens and embeddings; none if None.
        over: "clips": statistics of mean tokens of clips; "places": of target tokens at each position of the clip.
    """

    def __init__(self, projector: Projector | None = None, over: Over = "clips"):
        super().__init__()
        if over not in get_args(Over):
            raise ValueError(f"over '{over}' must be one of {', '.join(get_args(Over))}")
        self.projector = projector
        self.over = over

    def forward(
        self,
        predicted: Float[Tensor, "B Nt D"],  # predicted tokens of a mask's hidden positions
        tokens: Float[Tensor, "B N D"],  # target tokens of whole clips
        step: int,  # of the run; random numbers are a function of it
    ) -> TermValue:
        return self.compare(self.embeddings(predicted, tokens), step)

    def between(self, views: Float[Tensor, "V B D"], step: int, anchored: bool = False) -> TermValue:
        """The loss between views of the same clips."""
        return self.compare(self._projected(views).unbind(), step, anchored)

    def compare(
        self, embeddings: Sequence[Float32[Tensor, "B *places E"]], step: int, anchored: bool = False
    ) -> TermValue:
        """The loss between sets of embeddings of the same clips.

        Args:
            embeddings: two sets or more; a single one has nothing to agree with.
            step: of the run; random numbers are a function of it.
            anchored: the first set is compared with each other one; otherwise each with each.
        """
        raise NotImplementedError

    def embeddings(
        self, predicted: Float[Tensor, "B Nt D"], tokens: Float[Tensor, "B N D"]
    ) -> list[Float32[Tensor, "B *places E"]]:
        """Over clips two of (B, E), of predicted and of target tokens; over places one of (B, N, E).

        Over clips these are means of the predicted tokens and of all target tokens: means of the hidden target tokens
        would differ by the mask alone. Over places they are the target tokens, never mixed over positions: a
        token could differ by its position alone. Predictions have other positions in each clip.
        """
        parts = [predicted.mean(1), tokens.mean(1)] if self.over == "clips" else [tokens]
        return [self._projected(part) for part in parts]

    def _projected(self, tokens: Float[Tensor, "... D"]) -> Float32[Tensor, "... E"]:
        return (tokens if self.projector is None else self.projector(tokens)).float()


@final
class Regularization(ClipTerm):
    """A regularizer on predicted and target tokens, averaged over masks."""

    def __init__(self, regularizer: Regularizer):
        super().__init__()
        self.regularizer = regularizer

    def forward(self, step: ClipStep) -> TermValue:
        """Raises ValueError where the regularizer reads only targets, and these have no gradient."""
        assert step.targets is not None  # there is a predictor
        values = [self.regularizer(predicted, step.targets, step.number) for predicted in step.predictions]
        loss = torch.stack([value.loss for value in values]).mean()
        if torch.is_grad_enabled() and not loss.requires_grad:
            raise ValueError(
                "the regularizer reads only targets, and these have no gradient; give targets: OwnTokens, or a "
                "regularizer over clips"
            )
        parts = {name: torch.stack([value.parts[name] for value in values]).mean() for name in values[0].parts}
        return TermValue(loss, self.named_parts(parts))


def compared_pairs(num_sets: int, anchored: bool) -> list[tuple[int, int]]:
    """Which of these sets of embeddings are compared; a single set with itself."""
    if num_sets == 1:
        return [(0, 0)]
    return [(0, other) for other in range(1, num_sets)] if anchored else list(combinations(range(num_sets), 2))


def squared_difference(embeddings: Sequence[Float[Tensor, "B *places E"]], anchored: bool = False) -> Float[Tensor, ""]:
    """Mean squared difference over clips, features and the compared pairs of sets."""
    if len(embeddings) <= 2:
        return F.mse_loss(embeddings[0], embeddings[-1])
    stacked = torch.stack(list(embeddings))
    if anchored:
        return (stacked[1:] - stacked[0]).square().mean()
    return 2 * stacked.var(dim=0).mean()  # over all pairs


def check_enough_clips(embeddings: Float[Tensor, "B ..."]) -> None:
    """Raise ValueError where the global batch has too few clips for statistics."""
    if len(embeddings) < 2:
        raise ValueError(
            f"a regularizer compares clips, and global_batch_size ({len(embeddings)}) must be at least 2 for that; "
            "try 64"
        )
