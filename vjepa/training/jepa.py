"""JEPA: predict embeddings of hidden tubelets from visible ones.

V-JEPA (arXiv 2404.08471), V-JEPA 2 (2506.09985) and V-JEPA 2.1 (2603.14482) are one module with other parts.
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn

from vjepa.data.clips.batch import ClipBatch, normalize_clips
from vjepa.grid import gather_tokens
from vjepa.interop.renamed import renamed_weights
from vjepa.interop.run_folder import EncoderName
from vjepa.masking import NextFrames, TubeMask
from vjepa.models import Predictor, VideoEncoder, encode_masks, frozen_copy, update_ema
from vjepa.objectives import ClipStep, ClipTerm, LatentPrediction, Objective, best_hypotheses, normalized_targets
from vjepa.training.clip_model import ClipModel
from vjepa.training.cost.flops import step_flops, view_flops
from vjepa.training.initial_weights import load_initial_weights
from vjepa.training.schedule import Schedule
from vjepa.training.targets import Encoders, MovingAverage, OwnTokens, Targets
from vjepa.training.views import embed_views


class JEPA(ClipModel):
    """A context encoder, a predictor, and a target encoder that follows the context encoder.

    Args:
        encoder: the context encoder, which sees only visible tokens; its frozen copy is the target encoder.
        predictor: predicts target tokens; its `encoder_dim` must be the encoder's `embed_dim`. None where terms compare
            views alone (LeVJEPA): the target encoder is then only the average that is evaluated.
        terms: of the loss, by name (`vjepa.objectives`): `LatentPrediction` alone if None. Beside it the recipes here
            use `ViewAgreement`, `ContextPrediction`, `Agreement` and `Regularization`. An entry of None is left out.
        targets: where target tokens come from: `MovingAverage` (if None), `Teacher` or `OwnTokens` of `vjepa.training`.
        learning_rate, weight_decay: of AdamW, over optimizer steps.
        momentum: of the target encoder; its first value is used after the first optimizer step, `end` after the last.
        betas, eps: of AdamW.
        momentum_interval: optimizer steps from one update of the target encoder to the next.
        predicted_fraction: fraction of a batch's clips, the first ones, that are masked and predicted.
        mask_token_per_mask: mask number i uses mask token i (V-JEPA 1); otherwise all share the first (V-JEPA 2).
        initial_weights: what encoder, predictor and target encoder start from (cooldown, continued pretraining): a
            checkpoint of ours, a released file, a Hugging Face folder. The run's own schedules begin anew; to go on
            with a run use `--ckpt_path`.
    """

    def step(self, batch: ClipBatch) -> ClipStep:
        clips = normalize_clips(batch.clips)  # (B, 3, T, H, W)
        encoder, num_levels = self.context_encoder, self.num_levels
        masked = clips[: self.num_masked(batch)]
        masks = [TubeMask(*(ids[: len(masked)] for ids in mask)) for mask in batch.masks]
        step = ClipStep(
            number=self.step_number,
            clips=masked,
            grid=encoder.grid_of(clips),
            is_image=encoder.is_image(clips),
            masks=masks,
            contexts=encode_masks(encoder, masked, num_levels, [mask.context_ids for mask in masks]),
            views=embed_views(encoder, clips, batch.views),  # (V, B, D)
            clips_per_file=batch.clips_per_file,
            encode=lambda token_ids: encoder(masked, token_ids),
        )
        if self.predictor is not None:
            self.predict_hidden(step)
        step.losses = self.objective(step)
        return step

    def predict_hidden(self, step: ClipStep) -> None:
        """Add targets, and predictions from the visible tokens of each mask."""
        if not step.masks:
            raise ValueError("the predictor has nothing to predict: give data.masks, or --model.predictor=null")
        target_tokens = self.targets(step.clips, Encoders(self.context_encoder, self.target_encoder, self.num_levels))
        step.targets = normalized_targets(target_tokens, self.num_levels)  # (B, N, levels * D)
        step.whole_tokens = target_tokens.unflatten(-1, (self.num_levels, -1))[..., -1, :]
        assert self.predictor is not None
        mask_tokens = [number if self.mask_token_per_mask else 0 for number in range(len(step.masks))]
        if self.predictor.num_hypotheses > 1:
            for context, mask, mask_token in zip(step.contexts, step.masks, mask_tokens, strict=True):
                self.predict_several(step, context, mask, mask_token)
            return
        step.predictions, step.context_predictions = self.predictor.forward_masks(
            step.contexts, step.masks, step.grid, mask_tokens, step.is_image, with_context=self.predicts_context
        )

    def predict_several(
        self,
        step: ClipStep,
        context: Float[Tensor, "B Nc levels_D"],
        mask: TubeMask,
        mask_token: int,
    ) -> None:
        """Add the predictions of every hypothesis, and of each clip's best one."""
        assert self.predictor is not None and step.targets is not None
        where = (context, mask, step.grid, mask_token, step.is_image)
        hypotheses = torch.stack([self.predictor(*where, which) for which in range(self.predictor.num_hypotheses)])
        best = best_hypotheses(hypotheses, gather_tokens(step.targets, mask.target_ids))
        step.hypotheses.append(hypotheses)
        step.predictions.append(hypotheses[best, torch.arange(len(best))])

    def update_target(self, step: int, run_steps: int) -> dict[str, float]:
        """Move the target encoder towards the context encoder."""
        momentum = 0.0 if isinstance(self.targets, OwnTokens) else self.ema_momentum(step, run_steps)
        if step % self.momentum_interval == 0:
            update_ema(self.target_encoder, self.context_encoder, momentum)
        return {"schedule/momentum": momentum}

    def __init__(
        self,
        encoder: VideoEncoder,
        predictor: Predictor | None,
        terms: dict[str, ClipTerm | None] | None = None,
        targets: Targets | None = None,
        learning_rate: Schedule = Schedule(start=1e-4, peak=5.25e-4, warmup_steps=12_000),  # noqa: B008 (frozen)
        weight_decay: Schedule = Schedule(peak=0.04),  # noqa: B008 (frozen)
        momentum: Schedule = Schedule(peak=0.99925, decay="linear"),  # noqa: B008 (frozen)
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        momentum_interval: int = 1,
        predicted_fraction: float = 1.0,
        mask_token_per_mask: bool = False,
        initial_weights: Path | None = None,
    ):
        super().__init__(learning_rate, weight_decay, betas, eps)
        self.targets = MovingAverage() if targets is None else targets
        if predictor is not None:
            _require_networks_that_fit(encoder, predictor, self.targets)
        elif terms is None:
            raise ValueError("without a predictor the default term, latent prediction, has no loss: give model.terms")
        if momentum_interval < 1:
            raise ValueError(f"momentum_interval ({momentum_interval}) must be at least 1")
        if not 0 < predicted_fraction <= 1:
            raise ValueError(f"predicted_fraction ({predicted_fraction}) must be more than 0 and at most 1")
        self.context_encoder = encoder
        self.target_encoder = frozen_copy(encoder)
        self.predictor = predictor
        if terms == {}:
            raise ValueError("terms is empty, so there is no loss; leave it out for latent prediction alone")
        self.objective = Objective(terms or {"prediction": LatentPrediction()})
        for term in self.objective.terms:
            term.check_networks(encoder, predictor)
        self.predicts_context = any(term.reads_context_predictions for term in self.objective.terms)
        if self.predicts_context and predictor is not None and predictor.num_hypotheses > 1:
            raise ValueError(
                f"the predictor's num_hypotheses ({predictor.num_hypotheses}) must be 1 where visible tokens are "
                f"predicted too: leave out that term, or the hypotheses"
            )
        self.momentum = momentum
        self.momentum_interval = momentum_interval
        self.predicted_fraction = predicted_fraction
        self.mask_token_per_mask = mask_token_per_mask
        self.initial_weights = initial_weights
        if predictor is not None:
            predictor.freeze_unused(mask_tokens=not mask_token_per_mask, context=not self.predicts_context)
        if encoder.num_output_levels > 1 and self.num_levels == 1:
            encoder.level_norms[:-1].requires_grad_(False)

    def flops_of(self, batch: ClipBatch) -> int:
        encoder, num_clips = self.context_encoder, self.num_masked(batch)
        counts = [(mask.context_ids.shape[1], mask.target_ids.shape[1]) for mask in batch.masks]
        teacher = self.targets.encoder_without_gradients(self.target_encoder)
        networks = (encoder, teacher, self.predictor, self.predicts_context)
        masked = step_flops(*networks, num_clips, encoder.grid_of(batch.clips), counts, encoder.is_image(batch.clips))
        return masked + view_flops(encoder, batch)

    def num_masked(self, batch: ClipBatch) -> int:
        """The first clips of a batch are masked and predicted."""
        return max(1, round(self.predicted_fraction * len(batch.clips)))

    @property
    def num_levels(self) -> int:
        """Output levels of the encoder that are predicted."""
        return 1 if self.predictor is None else self.predictor.num_levels

    @property
    def prediction(self) -> LatentPrediction | None:
        """The term that predicts hidden tokens, where there is one."""
        return next((term for term in self.objective.terms if isinstance(term, LatentPrediction)), None)

    def get_encoder(self, name: EncoderName) -> VideoEncoder:
        return self.target_encoder if name == "target" else self.context_encoder

    def trained_parts(self) -> list[nn.Module]:
        networks = (self.context_encoder, self.predictor, self.objective)
        return [network for network in networks if network is not None]

    def setup(self, stage: str) -> None:
        if stage == "fit" and self.initial_weights is not None:
            for note in load_initial_weights(self, self.initial_weights):
                rank_zero_only(print)(note)
        if self.predictor is not None:
            self.targets.setup(self.predictor)
        masks = getattr(getattr(self._trainer, "datamodule", None), "masks", [])
        if any(isinstance(each, NextFrames) for each in masks):
            _require_networks_that_look_back(self.context_encoder, self.predictor)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # A teacher may be larger than all the rest, and never changes: it is read from where it came from.
        for name in [name for name in checkpoint["state_dict"] if name.startswith("targets.")]:
            del checkpoint["state_dict"][name]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = renamed_weights(checkpoint["state_dict"])
        checkpoint["state_dict"] |= {f"targets.{name}": value for name, value in self.targets.state_dict().items()}
        super().on_load_checkpoint(checkpoint)


def _require_networks_that_fit(encoder: VideoEncoder, predictor: Predictor, targets: Targets) -> None:
    predictor.require_encoder_of(encoder.embed_dim)
    if predictor.num_levels not in (1, encoder.num_output_levels):
        raise ValueError(
            f"the predictor's num_levels ({predictor.num_levels}) must be 1 or the number of the encoder's "
            f"output_levels ({encoder.num_output_levels})"
        )
    if predictor.target_dim != targets.width(encoder, predictor):
        raise ValueError(
            f"the predictor's target_dim ({predictor.target_dim}) must be num_levels * embed_dim "
            f"({predictor.num_levels * encoder.embed_dim}) where no teacher gives the targets"
        )


def _require_networks_that_look_back(encoder: VideoEncoder, predictor: Predictor | None) -> None:
    """Elsewhere a frame that is predicted would be seen, and the loss would fall to nothing."""
    if predictor is not None and not predictor.reads_past_alone:
        raise ValueError(
            "masks of NextFrames show each frame to the predictions of later ones, and attention would show it to its "
            "own: the predictor needs memory_width and a depth of 0; or use FutureFrames"
        )
    if not encoder.per_frame and encoder.attention != "causal":
        raise ValueError(
            "masks of NextFrames need an encoder whose tokens don't know later frames: per_frame: true or attention: "
            "causal; or use FutureFrames"
        )
