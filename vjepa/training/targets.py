"""Where the tokens that a JEPA predicts come from: a moving average, a teacher, or the context encoder itself."""

from pathlib import Path
from typing import TYPE_CHECKING, final

import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.models import Predictor, VideoEncoder, frozen_copy
from vjepa.training.initial_weights import read_teacher

if TYPE_CHECKING:
    from vjepa.training.jepa import JEPA


class Targets:
    """Subclasses implement `encode`."""

    def encode(self, model: "JEPA", clips: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B N levels_D"]:
        """Tokens of whole clips, of as many levels as the predictor predicts."""
        raise NotImplementedError

    def setup(self, model: "JEPA") -> None:
        """Called once before training."""

    def target_dim(self, encoder: VideoEncoder, predictor: Predictor) -> int:
        """Width of the targets where it is known before `setup`: that of the encoder's levels."""
        return predictor.num_levels * encoder.embed_dim


@final
class MovingAverage(Targets):
    """The target encoder, a moving average of the context encoder (V-JEPA, arXiv 2404.08471)."""

    @torch.no_grad()
    def encode(self, model: "JEPA", clips: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B N levels_D"]:
        return model.encode(model.target_encoder, clips)


@final
class OwnTokens(Targets):
    """The context encoder's own tokens of whole clips, with gradients: one encoder (LeVJEPA, arXiv 2608.27395).

    The target encoder is its copy after each step, whatever the momentum. Only a regularizer or agreement keeps such
    targets from collapse; without either it is the collapsing run to compare with.
    """

    def encode(self, model: "JEPA", clips: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B N levels_D"]:
        return model.encode(model.context_encoder, clips)


@final
class Teacher(Targets):
    """The frozen encoder of another model (distillation; trained on pixels it makes this SALT, arXiv 2509.24317).

    The target encoder is then only the moving average, as which a distilled model is released. The predictor's
    `target_dim` must be the teacher's width, times the predictor's levels.

    Args:
        source: a released file, a Hugging Face folder, a run of ours.
    """

    def __init__(self, source: Path):
        self.source = source

    def setup(self, model: "JEPA") -> None:
        if model.teacher is None:
            model.teacher = frozen_copy(read_teacher(self.source, model.predictor))

    @torch.no_grad()
    def encode(self, model: "JEPA", clips: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B N levels_D"]:
        assert model.teacher is not None
        return model.encode(model.teacher, clips)

    def target_dim(self, encoder: VideoEncoder, predictor: Predictor) -> int:
        return predictor.target_dim  # checked when the teacher is read
