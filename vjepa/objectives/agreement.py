"""Agreement: the two parts of a clip, visible and hidden, have similar embeddings, and different clips do not.

Only what both parts share can agree: texture averages out, how the clip moves stays (measured by us, docs/log.md).
"""

from typing import final

from vjepa.models import Predictor, VideoEncoder
from vjepa.objectives.regularizer import Regularizer
from vjepa.objectives.term import ClipStep, ClipTerm, TermValue


@final
class Agreement(ClipTerm):
    """A regularizer between both parts of the first mask, each encoded separately. The released recipes have none.

    Args:
        regularizer: over clips; its projector's `input_dim` must be the encoder's `embed_dim`.
    """

    def __init__(self, regularizer: Regularizer):
        super().__init__()
        if regularizer.over != "clips":
            raise ValueError(
                "agreement compares parts of clips, whose positions differ from clip to clip; give over: clips"
            )
        self.regularizer = regularizer

    def check_networks(self, encoder: VideoEncoder, predictor: Predictor) -> None:
        projector = self.regularizer.projector
        if projector is not None and projector.input_dim != encoder.embed_dim:
            raise ValueError(
                f"the input_dim of the agreement's projector ({projector.input_dim}) must be the encoder's embed_dim "
                f"({encoder.embed_dim})"
            )

    def forward(self, step: ClipStep) -> TermValue:
        hidden = step.encode(step.masks[0].target_ids)  # (B, Nt, D)
        visible = step.contexts[0][..., -hidden.shape[-1] :]  # the last level
        value = self.regularizer(visible, hidden, step.number)
        return TermValue(value.loss, self.named_parts(value.parts))
