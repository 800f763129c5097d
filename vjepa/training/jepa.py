"""JEPA: predict embeddings of hidden tubelets from visible ones.

V-JEPA (arXiv 2404.08471), V-JEPA 2 (2506.09985) and V-JEPA 2.1 (2603.14482) are one module with other parts.
"""

from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn

from vjepa.data.clips.batch import ClipBatch, normalize_clips
from vjepa.grid import gather_tokens
from vjepa.masking import TubeMask
from vjepa.models import Predictor, VideoEncoder, frozen_copy, update_ema
from vjepa.objectives import (
    ContextPrediction,
    Distance,
    Regularizer,
    latent_prediction_loss,
    normalized_targets,
)
from vjepa.training.clip_model import ClipModel
from vjepa.training.initial_weights import load_initial_weights, read_teacher
from vjepa.training.schedule import Schedule

TargetsOf = Literal["average", "self"]


class MaskTerms(NamedTuple):
    """What a step knows of one mask."""

    predicted: Tensor  # (B, Nt, target_dim)
    hidden: Tensor  # () the loss of the hidden tokens
    visible: Tensor | None  # () that of the visible ones, where it is trained


class JEPA(ClipModel):
    """A context encoder, a predictor and the target encoder that follows the context encoder.

    Args:
        encoder: sees only what a mask leaves visible; its frozen copy, the target encoder, sees whole clips.
        predictor: guesses the target encoder's tokens; its `encoder_dim` must be the encoder's `embed_dim`.
        learning_rate, weight_decay: of AdamW, over optimizer steps.
        momentum: of the target encoder; its first value is used after the first optimizer step, `end` after the last.
        betas, eps: of AdamW.
        loss_exponent: p of the mean of |error|^p / p.
        distance: of the prediction loss: "power" by `loss_exponent`, "smooth_l1" or "cosine".
        mask_token_per_mask: mask number i uses mask token i (V-JEPA 1); otherwise all share the first (V-JEPA 2).
        context_prediction: the predictor must say what the visible tokens are, too (V-JEPA 2.1); it needs the
            predictor's `predict_context`.
        teacher: a model whose frozen encoder gives the targets (distillation): a released file, a Hugging Face folder,
            a run of ours. The target encoder is then only the moving average, as which a distilled model is released.
            The predictor's `target_dim` must be the teacher's width, times the predictor's levels. Trained on pixels,
            it makes this SALT (arXiv 2509.24317).
        targets: whose tokens they are: "average": the target encoder's, or the teacher's; "self": the context encoder's
            own of whole clips, with gradients (one encoder, LeVJEPA, arXiv 2608.27395). The target encoder is then its
            copy after each step, whatever `momentum` says. Nothing but a regularizer or agreement keeps "self" from
            collapse: without one it is the sick run to compare with.
        agreement: a regularizer between the visible and the hidden part of the first mask, each encoded by itself,
            beside the prediction: both must be embedded alike, and no two clips alike. Nothing but what both parts
            share can agree: texture averages out, how the clip moves stays. The released recipes have none.
        regularizer: terms on predicted and target tokens that keep them from collapse: `vjepa.objectives`'
            VarianceCovariance, BarlowTwins, SIGReg, or an own class with their `forward` and `loss`.
        initial_weights: what encoder, predictor and target encoder start from (cooldown, continued pretraining): a
            checkpoint of ours, a released file, a Hugging Face folder. The run's own schedules begin anew; to go on
            with a run use `--ckpt_path`.
    """

    def __init__(
        self,
        encoder: VideoEncoder,
        predictor: Predictor,
        learning_rate: Schedule = Schedule(start=1e-4, peak=5.25e-4, warmup_steps=12_000),  # noqa: B008 (frozen)
        weight_decay: Schedule = Schedule(peak=0.04),  # noqa: B008 (frozen)
        momentum: Schedule = Schedule(peak=0.99925, decay="linear"),  # noqa: B008 (frozen)
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        loss_exponent: float = 1.0,
        distance: Distance = "power",
        mask_token_per_mask: bool = False,
        context_prediction: ContextPrediction | None = None,
        teacher: Path | None = None,
        targets: TargetsOf = "average",
        agreement: Regularizer | None = None,
        regularizer: Regularizer | None = None,
        initial_weights: Path | None = None,
    ):
        super().__init__(learning_rate, weight_decay, betas, eps)
        predictor.require_encoder_of(encoder.embed_dim)
        if predictor.num_levels not in (1, encoder.num_output_levels):
            raise ValueError(
                f"the predictor's num_levels ({predictor.num_levels}) must be 1 or the number of the encoder's "
                f"output_levels ({encoder.num_output_levels})"
            )
        if teacher is None and predictor.target_dim != predictor.num_levels * encoder.embed_dim:
            raise ValueError(
                f"the predictor's target_dim ({predictor.target_dim}) must be num_levels * embed_dim "
                f"({predictor.num_levels * encoder.embed_dim}) where no teacher gives the targets"
            )
        if context_prediction is not None and predictor.context_proj is None:
            raise ValueError("context_prediction needs a predictor with predict_context: true")
        projector = getattr(agreement, "projector", None)
        if projector is not None and projector.input_dim != encoder.embed_dim:
            raise ValueError(
                f"the input_dim of the agreement's projector ({projector.input_dim}) must be the encoder's embed_dim "
                f"({encoder.embed_dim})"
            )
        if getattr(agreement, "over", "clips") != "clips":
            raise ValueError(
                "agreement compares parts of clips, whose places differ from clip to clip; give over: clips"
            )
        if targets not in get_args(TargetsOf):
            raise ValueError(f"targets '{targets}' must be one of {', '.join(get_args(TargetsOf))}")
        if targets == "self" and teacher is not None:
            raise ValueError(f"targets: self takes none from the teacher {teacher}; give one of the two")
        self.context_encoder = encoder
        self.target_encoder = frozen_copy(encoder)
        self.predictor = predictor
        self.teacher: VideoEncoder | None = None  # read when training starts
        self.teacher_source = teacher
        self.context_prediction = context_prediction
        self.targets = targets
        self.agreement = agreement
        self.regularizer = regularizer
        predictor.freeze_unused(mask_tokens=not mask_token_per_mask, context=context_prediction is None)
        if encoder.num_output_levels > 1 and predictor.num_levels == 1:
            encoder.level_norms[:-1].requires_grad_(False)
        self.momentum = momentum
        self.loss_exponent = loss_exponent
        self.distance: Distance = distance
        self.mask_token_per_mask = mask_token_per_mask
        self.initial_weights = initial_weights

    def losses(self, batch: ClipBatch) -> dict[str, Tensor]:  # () each; "loss" is minimised, the others are its parts
        clips = normalize_clips(batch.clips)  # (B, 3, T, H, W)
        targets = self.encode_targets(clips)  # (B, N, target_dim), without gradient unless they are its own
        contexts = [self.encode(self.context_encoder, clips, mask.context_ids) for mask in batch.masks]
        terms = [
            self.prediction_terms(clips, context, mask, targets, i)
            for i, (context, mask) in enumerate(zip(contexts, batch.masks, strict=True))
        ]
        losses = {f"loss_mask{i}": of_mask.hidden for i, of_mask in enumerate(terms)}
        loss = torch.stack([of_mask.hidden for of_mask in terms]).mean()
        if self.context_prediction is not None:
            losses["context"] = torch.stack([part.visible for part in terms if part.visible is not None]).mean()
            weight = self.context_prediction.weight(self.global_step, self.context_encoder.is_image(clips))
            loss = loss + weight * losses["context"]
        if self.agreement is not None:
            hidden = self.context_encoder(clips, batch.masks[0].target_ids)  # (B, Nt, D)
            seen = contexts[0][..., -self.context_encoder.embed_dim :]
            parts = self.agreement.forward(seen, hidden, self.global_step)
            loss = loss + self.agreement.loss(parts)
            losses |= {f"agreement_{name}": term for name, term in parts._asdict().items()}
        if self.regularizer is not None:
            added, parts_of_it = self.regularization([of_mask.predicted for of_mask in terms], targets)
            loss = loss + added
            losses |= parts_of_it
        return {"loss": loss, **losses}

    def predict_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """Tokens of whole clips by the target encoder, (B, N, D)."""
        return self.target_encoder(normalize_clips(batch.clips))

    @property
    def encoder_of_targets(self) -> VideoEncoder:
        """The teacher where there is one, else the context encoder itself or its average."""
        if self.targets == "self":
            return self.context_encoder
        return self.target_encoder if self.teacher is None else self.teacher

    def encode(
        self,
        encoder: VideoEncoder,
        clips: Tensor,  # (B, 3, T, H, W)
        token_ids: Tensor | None = None,  # (B, K)
    ) -> Tensor:  # (B, K or N, levels * D)
        """Tokens of as many levels as the predictor works on: all output levels, or the last."""
        if self.predictor.num_levels == 1:
            return encoder(clips, token_ids)
        return encoder.forward_outputs(clips, token_ids)

    def encode_targets(
        self,
        clips: Tensor,  # (B, 3, T, H, W)
    ) -> Tensor:  # (B, N, target_dim) float32
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.targets == "self"):
            return normalized_targets(self.encode(self.encoder_of_targets, clips), self.predictor.num_levels)

    def prediction_terms(
        self,
        clips: Tensor,  # (B, 3, T, H, W)
        context: Tensor,  # (B, Nc, levels * D)
        mask: TubeMask,
        targets: Tensor,  # (B, N, target_dim)
        mask_number: int = 0,
    ) -> MaskTerms:
        grid, is_image = self.context_encoder.grid_of(clips), self.context_encoder.is_image(clips)
        mask_token = mask_number if self.mask_token_per_mask else 0
        of_hidden = gather_tokens(targets, mask.target_ids)
        if self.context_prediction is None:
            hidden = self.predictor(context, mask, grid, mask_token, is_image)  # (B, Nt, target_dim)
            return MaskTerms(hidden, self.distance_between(hidden, of_hidden), None)
        hidden, visible = self.predictor.forward_with_context(context, mask, grid, mask_token, is_image)
        of_visible = gather_tokens(targets, mask.context_ids)
        return MaskTerms(
            hidden,
            self.distance_between(hidden, of_hidden),
            self.context_prediction.loss(visible, of_visible, mask, grid, self.loss_exponent, self.distance),
        )

    def distance_between(
        self,
        predicted: Tensor,  # (B, Nt, target_dim)
        targets: Tensor,  # (B, Nt, target_dim)
    ) -> Tensor:  # ()
        return latent_prediction_loss(predicted, targets, self.loss_exponent, self.distance)

    def regularization(
        self,
        predicted: list[Tensor],  # (B, Nt, target_dim) for each mask
        targets: Tensor,  # (B, N, target_dim)
    ) -> tuple[Tensor, dict[str, Tensor]]:  # () each: what is added to the loss, and its terms, means over masks
        assert self.regularizer is not None
        of_masks = [self.regularizer.forward(tokens, targets, self.global_step) for tokens in predicted]
        loss = torch.stack([self.regularizer.loss(terms) for terms in of_masks]).mean()
        if torch.is_grad_enabled() and not loss.requires_grad:
            raise ValueError(
                "the regularizer looks at nothing but targets, and nobody trains what gives them; give targets: self, "
                "or a regularizer over clips"
            )
        names = of_masks[0]._fields
        return loss, {
            f"regularizer_{name}": torch.stack(values).mean()
            for name, values in zip(names, zip(*of_masks, strict=True), strict=True)
        }

    def follow(self, step: int, run_steps: int) -> dict[str, float]:
        """The target encoder follows the context encoder."""
        momentum = 0.0 if self.targets == "self" else self.momentum.value(step - 1, run_steps - 1)
        update_ema(self.target_encoder, self.context_encoder, momentum)
        return {"schedule/momentum": momentum}

    def trained_parts(self) -> list[nn.Module]:
        parts = (self.context_encoder, self.predictor, self.agreement, self.regularizer)
        return [part for part in parts if isinstance(part, nn.Module)]

    def setup(self, stage: str) -> None:
        if stage == "fit" and self.initial_weights is not None:
            for note in load_initial_weights(self, self.initial_weights):
                rank_zero_only(print)(note)
        if self.teacher_source is not None and self.teacher is None:
            self.teacher = frozen_copy(read_teacher(self.teacher_source, self.predictor))

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        # A teacher may be larger than all the rest, and never changes: it is read from where it came from.
        for name in [name for name in checkpoint["state_dict"] if name.startswith("teacher.")]:
            del checkpoint["state_dict"][name]

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        if self.teacher is not None:
            own = self.teacher.state_dict()
            checkpoint["state_dict"] |= {f"teacher.{name}": tensor for name, tensor in own.items()}
