"""Episode contrast: two windows of one episode are told from windows of other episodes by one frame of each.

What is constant within an episode, such as a layout, is then encoded, though no prediction needs it.
"""

from typing import final

from vjepa.objectives.clip_contrast import ClipContrast
from vjepa.objectives.projector import Projector
from vjepa.objectives.term import TermValue
from vjepa.objectives.world.regularization import checked_static_dim
from vjepa.objectives.world.step import ModelSizes, WindowStep, WindowTerm


@final
class EpisodeContrast(WindowTerm):
    """`ClipContrast` between episodes, for data with `windows_per_episode: 2`.

    Args:
        weight, temperature: as of `ClipContrast`.
        hidden_dim, output_dim: of its projector.
        static_dim: last features of a latent, which alone are compared; the encoder's if None. With 0 all are.
    """

    contrast: ClipContrast

    def __init__(
        self,
        weight: float = 1.0,
        temperature: float = 0.2,
        hidden_dim: int = 256,
        output_dim: int = 64,
        static_dim: int | None = None,
    ):
        super().__init__(weight)
        self.temperature = temperature
        self.hidden_dim = hidden_dim
        self.output_dim = output_dim
        self.static_dim = static_dim

    def build(self, sizes: ModelSizes) -> None:
        self.static_dim = checked_static_dim(self.static_dim, sizes)
        projector = Projector(self.static_dim or sizes.embed_dim, self.hidden_dim, self.output_dim)
        self.contrast = ClipContrast(projector, self.temperature, self.weight)

    def forward(self, step: WindowStep) -> TermValue:
        # One frame of each window in turn: every frame must identify its episode, not only their mean.
        frame = step.latents[:, step.number % step.latents.shape[1]]
        static = frame[..., -(self.static_dim or 0) :]  # (B, N, static_dim or D)
        value = self.contrast(static, static, step.number)
        return TermValue(value.loss, {self.name: value.parts["contrast"], f"{self.name}_found": value.parts["found"]})
