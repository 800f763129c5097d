"""An encoder and a head that learn together from clips with classes.

The head may learn first, on the features as they are, so that its first, random gradients do not bend them (linear
probing, then fine-tuning: Kumar et al. 2022, arXiv 2202.10054).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from lightning.pytorch import LightningModule
from torch import Tensor

from vjepa.data.clips.batch import ClipBatch, normalize_clips
from vjepa.data.clips.cuts import EvaluationCuts, TrainingCuts
from vjepa.evaluation.accelerator import autocast
from vjepa.evaluation.finetuning.layer_rates import layer_groups
from vjepa.evaluation.probes.feature_batches import arranged, mean_of_tokens
from vjepa.evaluation.probes.probe import LinearHead
from vjepa.evaluation.probes.sweep import Candidate, Sweep
from vjepa.models import VideoEncoder
from vjepa.training.schedule import cosine_decay


@dataclass(frozen=True)
class Tuning:
    """How an encoder is trained beside its head.

    Args:
        layer_decay: factor of the learning rate from each block to the one before it; 1 for the same rate everywhere.
            From-scratch training and adapters have the same rate everywhere.
        head_warmup: fraction of the steps in which the head learns alone, on frozen features; not from scratch.
    """

    layer_decay: float = 0.75
    head_warmup: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay ({self.layer_decay}) must be more than 0 and at most 1; try 0.75")
        if not 0 <= self.head_warmup < 1:
            raise ValueError(f"head_warmup ({self.head_warmup}) must be at least 0 and below 1; try 0.25")


class ClipClassifier(LightningModule):
    """Classifies files by their clips. The segments of a view are one sequence of tokens, as for probes.

    Args:
        encoder: weights that have no gradient stay as they are.
        candidate: kind of head, learning rate and weight decay.
        sweep: number of attention heads, warm-up of the learning rate, precision.
        tuning: how the encoder is trained beside its head.
        num_classes: number of classes.
        num_steps: steps in all, of the head alone and of both.
        cuts: clips of a training file.
    """

    def __init__(
        self,
        encoder: VideoEncoder,
        candidate: Candidate,
        sweep: Sweep,
        tuning: Tuning,
        num_classes: int,
        num_steps: int,
        cuts: TrainingCuts,
    ):
        super().__init__()
        self.encoder = encoder
        self.head = (
            LinearHead(encoder.embed_dim, num_classes)
            if candidate.kind == "linear"
            else sweep.attentive_head(candidate.kind, encoder.embed_dim, [num_classes])
        )
        self.candidate = candidate
        self.sweep = sweep
        self.tuning = tuning
        self.num_steps = num_steps
        self.head_steps = round(tuning.head_warmup * num_steps)
        self.cuts = cuts

    def forward(
        self,
        clips: UInt8[Tensor, "B 3 T H W"],  # the clips of a file together
        clips_per_video: int,
        num_segments: int,
    ) -> Float[Tensor, "files views classes"]:
        """Scores of classes."""
        return self.scores(self.encoder(normalize_clips(clips)), clips_per_video, num_segments)

    def scores(
        self, tokens: Float[Tensor, "B N D"], clips_per_video: int, num_segments: int
    ) -> Float[Tensor, "files views classes"]:
        """Scores of classes by the encoder's tokens."""
        tokens = tokens.unflatten(0, (-1, clips_per_video))
        features = arranged(mean_of_tokens, tokens, torch.zeros(len(tokens), dtype=torch.int64), num_segments)
        if isinstance(self.head, LinearHead):
            scores = self.head(features.pooled.flatten(0, 1))
        else:
            (scores,) = self.head(features.tokens.flatten(0, 1))
        return scores.unflatten(0, (len(tokens), -1))

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        per_video = self.cuts.clips_per_video
        with torch.set_grad_enabled(self.global_step >= self.head_steps):
            tokens = self.encoder(normalize_clips(batch.clips))
        scores = self.scores(tokens, per_video, per_video).squeeze(1)
        return F.cross_entropy(scores.float(), batch.labels[::per_video])

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        _, learning_rate, weight_decay = self.candidate
        groups = layer_groups(self.encoder, self.head, learning_rate, self.tuning.layer_decay, weight_decay)
        factors: list[Callable[[int], float]]
        factors = [partial(self.learning_rate_factor, group.pop("in_encoder")) for group in groups]
        optimizer = torch.optim.AdamW(groups, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factors)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def learning_rate_factor(self, in_encoder: bool, step: int) -> float:
        """The head's warm-up at its full rate; then, for both, a linear rise and a cosine to 0. Steps count from 0."""
        if step < self.head_steps:
            return 0.0 if in_encoder else 1.0
        step, num_steps = step - self.head_steps, self.num_steps - self.head_steps
        rise = self.sweep.warmup * num_steps
        return (step + 1) / rise if step < rise else cosine_decay(step - rise, max(1, num_steps - rise))

    @torch.no_grad()
    def guesses(
        self, batches: Iterable[ClipBatch], cuts: EvaluationCuts, device: torch.device
    ) -> tuple[Float[Tensor, "R classes"], Tensor]:  # probabilities, and labels (R,)
        """Mean probabilities over the views of each file."""
        self.to(device).eval()
        probabilities, labels = [], []
        for batch in batches:
            if len(batch.clips):
                with autocast(device, self.sweep.precision):
                    scores = self(batch.clips.to(device), cuts.clips_per_video, cuts.num_segments)
                probabilities.append(scores.float().softmax(dim=-1).mean(1).cpu())
                labels.append(batch.labels[:: cuts.clips_per_video])
        return torch.cat(probabilities), torch.cat(labels)
