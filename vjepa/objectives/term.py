"""The results of a training step, and the terms of the loss that read them.

An objective is a sum of named terms. A new term is a small file with a `Term`, and its `class_path` in a recipe.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Generic, NamedTuple, Self, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vjepa.grid import TokenGrid, gather_tokens
from vjepa.masking import TubeMask
from vjepa.models import Predictor, VideoEncoder


@dataclass(kw_only=True)
class Step:
    """The results that every training step has.

    Args:
        number: optimizer steps before this one.
        losses: scalars by name; "loss" is minimised, the others are its parts. Filled in by the objective.
    """

    number: int
    losses: dict[str, Tensor] = field(default_factory=dict)

    def detached(self) -> Self:
        """The same step without gradients, for callbacks."""
        return replace(self, **{part.name: _detached(getattr(self, part.name)) for part in fields(self)})


@dataclass(kw_only=True)
class ClipStep(Step):
    """A step on masked clips: B clips of N tokens; a mask leaves Nc of them visible and hides Nt.

    Args:
        clips: normalised; those that are masked.
        grid: of their tokens.
        masks: each predicts its hidden tokens from its visible ones.
        contexts: visible tokens by the context encoder, for each mask.
        targets: for every token of the clip; None where nothing is predicted.
        whole_tokens: tokens of whole clips by the encoder that gives the targets, last level; None where no encoder
            sees whole clips.
        predictions: of the hidden tokens, for each mask; of several hypotheses those of the best one for each clip.
        hypotheses: predictions by each of K hypotheses, for each mask; empty where there is one.
        context_predictions: of the visible tokens, for each mask; empty where no term reads them.
        views: embeddings of V views of each clip, masked or not, by the context encoder; None without views.
        clips_per_file: clips of one file, which are adjacent in the batch.
        is_image: whether the encoder embeds the clips as images.
        encode: runs the context encoder on tokens by id and returns its last level.
    """

    clips: Float[Tensor, "B 3 T H W"]
    grid: TokenGrid
    masks: list[TubeMask]
    contexts: list[Float[Tensor, "B _ levels_D"]]
    encode: Callable[[Int64[Tensor, "B K"]], Float[Tensor, "B K D"]]
    targets: Float[Tensor, "B N target_dim"] | None = None
    whole_tokens: Float[Tensor, "B N D"] | None = None
    predictions: list[Float[Tensor, "B _ target_dim"]] = field(default_factory=list)
    hypotheses: list[Float[Tensor, "K B _ target_dim"]] = field(default_factory=list)
    context_predictions: list[Float[Tensor, "B _ target_dim"]] = field(default_factory=list)
    views: Float[Tensor, "V all_B D"] | None = None
    clips_per_file: int = 1
    is_image: bool = False


class TermValue(NamedTuple):
    """A term at one step."""

    loss: Float[Tensor, ""]  # weighted, as it is added to the loss
    parts: dict[str, Tensor]  # scalars to log, by name


AnyStep = TypeVar("AnyStep", bound=Step)


class Term(nn.Module, Generic[AnyStep]):
    """A term of a training loss. Subclasses implement `forward`."""

    name = "term"  # its key in the recipe; names of what it logs start with it
    averages_clips = False  # its value is a mean over clips, so that parts of a batch give it one after the other

    def forward(self, step: AnyStep) -> TermValue:
        raise NotImplementedError

    def named_parts(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Parts under the names that they are logged by."""
        return {f"{self.name}_{part}": value for part, value in parts.items()}


class ClipTerm(Term[ClipStep]):
    """A term of a loss on masked clips."""

    reads_context_predictions = False

    needs_predictor = True

    def check_networks(self, encoder: VideoEncoder, predictor: Predictor | None) -> None:
        """Raise ValueError where these networks lack what the term needs."""
        if self.needs_predictor and predictor is None:
            raise ValueError(f"the term '{self.name}' needs a predictor: give model.predictor, or leave the term out")


def mean_over_masks(step: ClipStep, token_loss: Callable[[Tensor, Tensor], Tensor]) -> TermValue:
    """The mean of a loss between predicted and hidden targets (B, Nt, D) over all masks, and each mask's own."""
    assert step.targets is not None  # there is a predictor
    losses = [
        token_loss(predicted, gather_tokens(step.targets, mask.target_ids))
        for predicted, mask in zip(step.predictions, step.masks, strict=True)
    ]
    return TermValue(torch.stack(losses).mean(), {f"loss_mask{i}": loss for i, loss in enumerate(losses)})


class Objective(nn.ModuleDict):
    """The sum of named terms. An entry of None is left out.

    Raises:
        ValueError: there is no term, or a term's name has another meaning.
    """

    def __init__(self, terms: Mapping[str, Any]):
        super().__init__()
        kept = {name: term for name, term in terms.items() if term is not None}
        if not kept:
            raise ValueError("the objective has no terms, so that nothing would be trained; give at least one")
        for name, term in kept.items():
            if name == "loss" or hasattr(self, name):  # "loss" is the sum; others are attributes of the module
                raise ValueError(f"a term can't have the name '{name}', which has another meaning; try '{name}_term'")
            term.name = name
            self[name] = term

    @property
    def terms(self) -> list[Any]:
        return list(self.values())

    def forward(self, step: Step) -> dict[str, Tensor]:
        """The loss as "loss", then the parts of all terms. A name that is in use gets the term's name in front."""
        values: list[TermValue] = [term(step) for term in self.terms]
        loss = values[0].loss
        for value in values[1:]:
            loss = loss + value.loss
        losses = {"loss": loss}
        for term, value in zip(self.terms, values, strict=True):
            losses |= {f"{term.name}_{name}" if name in losses else name: part for name, part in value.parts.items()}
        return losses


def _detached(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, dict):
        return {key: _detached(part) for key, part in value.items()}
    return [_detached(part) for part in value] if isinstance(value, list) else value
