"""Frame prediction: pixels instead of latents, for a twin of a world model with the same encoder and dynamics."""

from typing import final

from jaxtyping import Float
from torch import Tensor

from vjepa.models.frame_decoder import FrameDecoder
from vjepa.objectives.term import TermValue
from vjepa.objectives.world.step import ModelSizes, WindowStep, WindowTerm


@final
class FramePrediction(WindowTerm):
    """Mean squared error of frames decoded from their own latents and from predicted latents.

    Args:
        weight: of reconstructed frames.
        rollout_weight: of predicted frames.
    """

    decoder: FrameDecoder

    def __init__(self, weight: float = 1.0, rollout_weight: float = 1.0):
        super().__init__(weight)
        self.rollout_weight = rollout_weight

    @property
    def dynamics_weight(self) -> float:
        return self.rollout_weight

    def build(self, sizes: ModelSizes) -> None:
        self.decoder = FrameDecoder(sizes.embed_dim, sizes.frame_size)

    def forward(self, step: WindowStep) -> TermValue:
        reconstructed, predicted = (self.decoder(part.flatten(0, 1)) for part in (step.latents, step.predictions))
        reconstruction = self._error(reconstructed, step.frames)
        rollout = self._error(predicted, step.frames[:, step.predicted_frames])
        loss = self.weight * reconstruction + self.rollout_weight * rollout
        return TermValue(loss, {"reconstruction": reconstruction, "rollout": rollout})

    def _error(self, decoded: Float[Tensor, "M 3 H W"], frames: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, ""]:
        return (decoded - frames.flatten(0, 1)).square().mean()
