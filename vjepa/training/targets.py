"""Where the tokens that a JEPA predicts come from: a moving average, a teacher, or the context encoder itself."""

from pathlib import Path
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vjepa.models import Predictor, VideoEncoder, encode_levels, frozen_copy
from vjepa.training.initial_weights import read_teacher


class Encoders(NamedTuple):
    """The encoders of a JEPA, and how many of their output levels the predictor predicts."""

    context: VideoEncoder
    target: VideoEncoder
    num_levels: int


class Targets(nn.Module):
    """Subclasses implement `forward`."""

    def forward(self, clips: Float[Tensor, "B 3 T H W"], encoders: Encoders) -> Float[Tensor, "B N levels_D"]:
        """Tokens of whole clips, of the levels that the predictor predicts."""
        raise NotImplementedError

    def setup(self, predictor: Predictor) -> None:
        """Called once before training."""

    def encoder_without_gradients(self, target_encoder: VideoEncoder) -> VideoEncoder | None:
        """The encoder that gives the tokens; None where they are the context encoder's, with gradients."""
        return target_encoder

    def width(self, encoder: VideoEncoder, predictor: Predictor) -> int:
        """Width of the tokens, where it is known before `setup`."""
        return predictor.num_levels * encoder.embed_dim


@final
class MovingAverage(Targets):
    """The target encoder, a moving average of the context encoder (V-JEPA, arXiv 2404.08471)."""

    @torch.no_grad()
    def forward(self, clips: Float[Tensor, "B 3 T H W"], encoders: Encoders) -> Float[Tensor, "B N levels_D"]:
        return encode_levels(encoders.target, clips, encoders.num_levels)


@final
class OwnTokens(Targets):
    """The context encoder's own tokens of whole clips, with gradients: one encoder (LeVJEPA, arXiv 2608.27395).

    The target encoder is its copy after each step, whatever the momentum. Only a regularizer or agreement keeps such
    targets from collapse; without either it is the collapsing run to compare with.
    """

    def forward(self, clips: Float[Tensor, "B 3 T H W"], encoders: Encoders) -> Float[Tensor, "B N levels_D"]:
        return encode_levels(encoders.context, clips, encoders.num_levels)

    def encoder_without_gradients(self, target_encoder: VideoEncoder) -> VideoEncoder | None:
        return None


@final
class Teacher(Targets):
    """The frozen encoder of another model: distillation, or SALT (arXiv 2509.24317) where it was trained on pixels.

    The target encoder is then only the moving average, as which a distilled model is released. The predictor's
    `target_dim` must be the teacher's width, times the predictor's levels.

    Args:
        source: a released file, a Hugging Face folder, a run of ours.
    """

    def __init__(self, source: Path):
        super().__init__()
        self.source = source
        self.encoder: VideoEncoder | None = None  # read when training starts

    def setup(self, predictor: Predictor) -> None:
        if self.encoder is None:
            self.encoder = frozen_copy(read_teacher(self.source, predictor))

    @torch.no_grad()
    def forward(self, clips: Float[Tensor, "B 3 T H W"], encoders: Encoders) -> Float[Tensor, "B N levels_D"]:
        assert self.encoder is not None
        return encode_levels(self.encoder, clips, encoders.num_levels)

    def encoder_without_gradients(self, target_encoder: VideoEncoder) -> VideoEncoder | None:
        return target_encoder if self.encoder is None else self.encoder  # it is read when training starts

    def width(self, encoder: VideoEncoder, predictor: Predictor) -> int:
        return predictor.target_dim  # checked when the teacher is read
