"""Agreement: parts or views of a clip have similar embeddings, and different clips do not.

Only what all of them share can agree: texture averages out, how the clip moves stays (measured by us, docs/log.md).
"""

from typing import Literal, final, get_args

from vjepa.models import Predictor, VideoEncoder
from vjepa.objectives.regularizer import Regularizer
from vjepa.objectives.term import ClipStep, ClipTerm, TermValue

Across = Literal["clip", "file"]


@final
class Agreement(ClipTerm):
    """A regularizer between both parts of the first mask, each encoded separately. The released recipes have none.

    Args:
        regularizer: over clips; its projector's `input_dim` must be the encoder's `embed_dim`.
    """

    needs_predictor = False

    def __init__(self, regularizer: Regularizer):
        super().__init__()
        self.regularizer = over_clips(regularizer)

    def check_networks(self, encoder: VideoEncoder, predictor: Predictor | None) -> None:
        check_projector(self.regularizer, encoder)

    def forward(self, step: ClipStep) -> TermValue:
        hidden = step.encode(step.masks[0].target_ids)  # (B, Nt, D)
        visible = step.contexts[0][..., -hidden.shape[-1] :]  # the last level
        value = self.regularizer(visible, hidden, step.number)
        return TermValue(value.loss, self.named_parts(value.parts))


@final
class ViewAgreement(ClipTerm):
    """A regularizer between all views of a clip (`data.views`).

    Views are random subsets of a clip's tokens, crops, or other times of its file, each encoded separately (LeJEPA,
    arXiv 2511.08544; LeVJEPA, arXiv 2608.27395). Many views of few tokens learn motion from a tenth of the computation
    of masked prediction on small data (measured by us, docs/results.md).

    Args:
        regularizer: over clips; its projector's `input_dim` must be the encoder's `embed_dim`.
        across: "clip": views of one clip agree; "file": those of all clips of a file (`clips_per_video`).
        anchored: compare each view with the first one (LeVJEPA's global view), and not each with each.
    """

    needs_predictor = False

    def __init__(self, regularizer: Regularizer, across: Across = "clip", anchored: bool = False):
        super().__init__()
        if across not in get_args(Across):
            raise ValueError(f"across '{across}' must be one of {', '.join(get_args(Across))}")
        self.regularizer = over_clips(regularizer)
        self.across = across
        self.anchored = anchored

    def check_networks(self, encoder: VideoEncoder, predictor: Predictor | None) -> None:
        check_projector(self.regularizer, encoder)

    def forward(self, step: ClipStep) -> TermValue:
        """Raises ValueError where there are fewer than two views."""
        views = step.views
        if views is not None and self.across == "file":  # (V, files * clips, D) -> (clips * V, files, D)
            views = views.unflatten(1, (-1, step.clips_per_file)).permute(2, 0, 1, 3).flatten(0, 1)
        if views is None or len(views) < 2:
            raise ValueError(
                f"the term '{self.name}' compares views, and the data gives {0 if views is None else len(views)}: give "
                f"data.views with a number of at least 2"
            )
        value = self.regularizer.between(views, step.number, self.anchored)
        return TermValue(value.loss, self.named_parts(value.parts))


def over_clips(regularizer: Regularizer) -> Regularizer:
    """The regularizer. Raises ValueError where it compares places of clips."""
    if regularizer.over != "clips":
        raise ValueError(
            "agreement compares parts of clips, whose positions differ from clip to clip; give over: clips"
        )
    return regularizer


def check_projector(regularizer: Regularizer, encoder: VideoEncoder) -> None:
    """Raise ValueError where the projector takes tokens of another width."""
    projector = regularizer.projector
    if projector is not None and projector.input_dim != encoder.embed_dim:
        raise ValueError(
            f"the input_dim of the agreement's projector ({projector.input_dim}) must be the encoder's embed_dim "
            f"({encoder.embed_dim})"
        )
