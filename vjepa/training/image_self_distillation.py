"""ImageSelfDistillation: an encoder of single frames, taught by its own moving average (DINO, arXiv 2104.14294).

The joint embedding of images in the JEPA family: views of one clip's frames must have the same prototypes, and nothing
is predicted from one position to another. It sees no motion.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vjepa.data.clips.batch import ClipBatch
from vjepa.data.clips.image_views import ImageViews
from vjepa.interop.run_folder import EncoderName
from vjepa.models import VideoEncoder, frozen_copy, update_ema
from vjepa.models.prototype_head import PrototypeHead
from vjepa.objectives import Step
from vjepa.objectives.self_distillation import SelfDistillation
from vjepa.training.clip_model import ClipModel
from vjepa.training.schedule import Schedule


class ImageSelfDistillation(ClipModel):
    """A context encoder that sees all views, and a target encoder, its moving average, that sees the large ones.

    Args:
        encoder: with `per_frame` and a tubelet of one frame. A view's embedding is the mean of its tokens.
        head: on embeddings; its `input_dim` must be the encoder's `embed_dim`.
        views: of each clip's frames.
        objective: its `num_prototypes` must be the head's.
        learning_rate, weight_decay: of AdamW, over optimizer steps.
        momentum: of target encoder and target head; published: from 0.996 to 1, by a cosine.
        betas, eps: of AdamW.
        freeze_prototypes_steps: first steps in which the prototypes are frozen. Published: the first epoch.
    """

    def __init__(
        self,
        encoder: VideoEncoder,
        head: PrototypeHead,
        views: ImageViews,
        objective: SelfDistillation,
        learning_rate: Schedule,
        weight_decay: Schedule,
        momentum: Schedule = Schedule(peak=0.996, end=1.0),  # noqa: B008 (frozen)
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        freeze_prototypes_steps: int = 0,
    ):
        super().__init__(learning_rate, weight_decay, betas, eps)
        if not encoder.per_frame or encoder.tubelet[0] != 1:
            raise ValueError(
                f"views are single frames: the encoder needs per_frame: true and a tubelet of one frame, "
                f"[1, {encoder.tubelet[1]}, {encoder.tubelet[2]}]"
            )
        if head.input_dim != encoder.embed_dim:
            raise ValueError(
                f"the head's input_dim ({head.input_dim}) must be the encoder's embed_dim ({encoder.embed_dim})"
            )
        if head.num_prototypes != len(objective.centre):
            raise ValueError(
                f"the objective's num_prototypes ({len(objective.centre)}) must be the head's ({head.num_prototypes})"
            )
        self.context_encoder = encoder
        self.target_encoder = frozen_copy(encoder)
        self.head = head
        self.target_head = frozen_copy(head)
        self.views = views
        self.objective = objective
        self.momentum = momentum
        self.freeze_prototypes_steps = freeze_prototypes_steps

    def step(self, batch: ClipBatch) -> Step:
        views = self.views(batch)
        with torch.no_grad():
            targets = self.target_head(embeddings_of_views(self.target_encoder, views.large))  # (G, B, K)
        parts = [embeddings_of_views(self.context_encoder, part) for part in views if len(part)]
        similarities = self.head(torch.cat(parts))  # (V, B, K)
        terms = self.objective(similarities, targets, self.step_number)
        if self.training:
            self.objective.move_centre(targets)
        losses = {"loss": terms.cross_entropy, "target_entropy": terms.target_entropy, "spread": terms.spread}
        return Step(number=self.step_number, losses=losses)

    def get_encoder(self, name: EncoderName) -> VideoEncoder:
        return self.target_encoder if name == "target" else self.context_encoder

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.global_step < self.freeze_prototypes_steps:
            self.head.prototypes.weight.grad = None

    def update_target(self, step: int, run_steps: int) -> dict[str, float]:
        """Move target encoder and target head towards the trained ones."""
        momentum = self.ema_momentum(step, run_steps)
        update_ema(self.target_encoder, self.context_encoder, momentum)
        update_ema(self.target_head, self.head, momentum)
        return {"schedule/momentum": momentum}

    def trained_parts(self) -> list[nn.Module]:
        return [self.context_encoder, self.head]


def embeddings_of_views(encoder: VideoEncoder, views: Float[Tensor, "V B 3 1 H W"]) -> Float[Tensor, "V B D"]:
    return encoder(views.flatten(0, 1)).mean(1).unflatten(0, views.shape[:2])
