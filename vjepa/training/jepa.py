"""JEPA: predict embeddings of hidden tubelets from visible ones (V-JEPA, arXiv 2404.08471; V-JEPA 2, 2506.09985)."""

from pathlib import Path

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor

from vjepa.data.batch import ClipBatch, normalize_clips
from vjepa.grid import TokenGrid, gather_tokens
from vjepa.masking import TubeMask
from vjepa.models import Predictor, VideoEncoder, frozen_copy, update_ema
from vjepa.objectives import ClipAgreement, latent_prediction_loss, normalized_targets
from vjepa.training.checkpoint import load_weights
from vjepa.training.parameter_groups import parameter_groups
from vjepa.training.schedule import Schedule


class JEPA(LightningModule):
    """A context encoder, a predictor and the target encoder that follows the context encoder.

    Args:
        encoder: sees only what a mask leaves visible; its frozen copy, the target encoder, sees whole clips.
        predictor: guesses the target encoder's tokens; its `encoder_dim` must be the encoder's `embed_dim`.
        learning_rate, weight_decay: of AdamW, over optimizer steps.
        momentum: of the target encoder; its first value is used after the first optimizer step, `end` after the last.
        betas, eps: of AdamW.
        loss_exponent: p of the mean of |error|^p / p.
        mask_token_per_mask: mask number i uses mask token i (V-JEPA 1); otherwise all share the first (V-JEPA 2).
        agreement: clip agreement between the visible and the hidden part of the first mask, beside the prediction; the
            released recipes have none. Its `encoder_dim` must be the encoder's `embed_dim`.
        initial_weights: a checkpoint whose encoder, predictor and target encoder this run starts from (cooldown,
            continued pretraining). The run's own schedules begin anew; to go on with a run use `--ckpt_path`.
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
        mask_token_per_mask: bool = False,
        agreement: ClipAgreement | None = None,
        initial_weights: Path | None = None,
    ):
        super().__init__()
        if predictor.encoder_dim != encoder.embed_dim:
            raise ValueError(
                f"the predictor's encoder_dim ({predictor.encoder_dim}) must be the encoder's embed_dim "
                f"({encoder.embed_dim})"
            )
        if agreement is not None and agreement.encoder_dim != encoder.embed_dim:
            raise ValueError(
                f"the agreement's encoder_dim ({agreement.encoder_dim}) must be the encoder's embed_dim "
                f"({encoder.embed_dim})"
            )
        self.context_encoder = encoder
        self.target_encoder = frozen_copy(encoder)
        self.predictor = predictor
        self.agreement = agreement
        if not mask_token_per_mask:
            # A token that no step uses must not wait for a gradient under DDP, nor decay.
            for unused in predictor.mask_tokens[1:]:
                unused.requires_grad_(False)
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.momentum = momentum
        self.betas = betas
        self.eps = eps
        self.loss_exponent = loss_exponent
        self.mask_token_per_mask = mask_token_per_mask
        self.initial_weights = initial_weights

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        return self.log_means("train", self.losses(batch), batch)

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        return self.log_means("val", self.losses(batch), batch)

    def test_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        return self.log_means("test", self.losses(batch), batch)

    def losses(self, batch: ClipBatch) -> dict[str, Tensor]:  # () each; "loss" is minimised, the others are its parts
        clips = normalize_clips(batch.clips)  # (B, 3, T, H, W)
        targets = self.encode_targets(clips)  # (B, N, D), no gradient
        contexts = [self.context_encoder(clips, mask.context_ids) for mask in batch.masks]  # (B, Nc, D) each
        predictions = [
            self.prediction_loss(context, mask, self.context_encoder.grid_of(clips), targets, i)
            for i, (context, mask) in enumerate(zip(contexts, batch.masks, strict=True))
        ]
        loss, parts = torch.stack(predictions).mean(), {f"loss_mask{i}": part for i, part in enumerate(predictions)}
        if self.agreement is not None:
            hidden = self.context_encoder(clips, batch.masks[0].target_ids)  # (B, Nt, D)
            terms = self.agreement(contexts[0], hidden)
            loss = loss + self.agreement.loss(terms)
            parts |= {f"agreement_{name}": term for name, term in terms._asdict().items()}
        return {"loss": loss, **parts}

    def predict_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """Tokens of whole clips by the target encoder, (B, N, D)."""
        return self.target_encoder(normalize_clips(batch.clips))

    @torch.no_grad()
    def encode_targets(
        self,
        clips: Tensor,  # (B, 3, T, H, W)
    ) -> Tensor:  # (B, N, D) float32
        return normalized_targets(self.target_encoder(clips))

    def prediction_loss(
        self,
        context: Tensor,  # (B, Nc, D)
        mask: TubeMask,
        grid: TokenGrid,
        targets: Tensor,  # (B, N, D)
        mask_number: int = 0,
    ) -> Tensor:  # ()
        mask_token = mask_number if self.mask_token_per_mask else 0
        predicted = self.predictor(context, mask, grid, mask_token)  # (B, Nt, D)
        return latent_prediction_loss(predicted, gather_tokens(targets, mask.target_ids), self.loss_exponent)

    def log_means(self, stage: str, losses: dict[str, Tensor], batch: ClipBatch) -> Tensor:
        """The loss; it and its parts are logged as one rank would see them on the global batch."""
        means = mean_over_ranks(torch.stack(list(losses.values())).detach())
        values = {f"{stage}/{name}": mean for name, mean in zip(losses, means, strict=True)}
        training = stage == "train"
        self.log_dict(values, on_step=training, on_epoch=not training, batch_size=len(batch.clips))
        return losses["loss"]

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer | LightningOptimizer, optimizer_closure=None
    ) -> None:
        """One step with this step's learning rate and weight decay, then the target encoder follows."""
        step, run_steps = self.global_step + 1, self.run_steps
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate.value(step, run_steps)
            group["weight_decay"] = self.weight_decay.value(step, run_steps) if group["decays"] else 0.0
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        momentum = self.momentum.value(step - 1, run_steps - 1)
        update_ema(self.target_encoder, self.context_encoder, momentum)
        self.log_dict(
            {
                "schedule/learning_rate": optimizer.param_groups[0]["lr"],
                "schedule/weight_decay": optimizer.param_groups[0]["weight_decay"],
                "schedule/momentum": momentum,
            }
        )

    @property
    def run_steps(self) -> int:
        """Optimizer steps of the whole run: the schedules end with it."""
        steps = self.trainer.estimated_stepping_batches
        if steps == float("inf"):
            raise ValueError("the run has no end for its schedules to reach; give --trainer.max_steps or max_epochs")
        return int(steps)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        trained = [self.context_encoder, self.predictor, *([self.agreement] if self.agreement is not None else [])]
        groups = parameter_groups(*trained)
        learning_rate = self.learning_rate.value(1, self.run_steps)
        return torch.optim.AdamW(groups, lr=learning_rate, betas=self.betas, eps=self.eps, fused=self._can_fuse())

    def _can_fuse(self) -> bool:
        # Lightning 2.6 refuses to clip gradients of a fused optimizer under mixed precision.
        return not (self.trainer.gradient_clip_val and "mixed" in str(self.trainer.precision))

    def setup(self, stage: str) -> None:
        if stage == "fit" and self.initial_weights is not None:
            load_weights(self, self.initial_weights)


def mean_over_ranks(values: Tensor) -> Tensor:
    """In one collective and without waiting for it: Lightning's `sync_dist` has a barrier for each value."""
    if not torch.distributed.is_initialized():
        return values
    torch.distributed.all_reduce(values)
    return values / torch.distributed.get_world_size()
