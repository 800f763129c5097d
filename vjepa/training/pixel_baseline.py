"""PixelBaseline: JEPA's twin that predicts pixels of hidden tubelets, not embeddings (VideoMAE, arXiv 2203.12602).

Encoder, masks, data and schedules are JEPA's, and so is the narrow transformer over context and mask tokens: a
`Predictor` whose target is as wide as a tubelet has pixels. Pixels can't collapse: there is no second encoder.
"""

import torch
from torch import Tensor, nn

from vjepa.data.clips.batch import ClipBatch, normalize_clips
from vjepa.grid import gather_tokens, tubelet_pixels
from vjepa.masking import TubeMask
from vjepa.models import Predictor, VideoEncoder
from vjepa.objectives.pixel_prediction import normalized_tubelets, pixel_prediction_loss
from vjepa.training.clip_model import ClipModel
from vjepa.training.schedule import Schedule


class PixelBaseline(ClipModel):
    """An encoder of what is visible, and a predictor of the pixels that are not.

    Args:
        encoder: sees only what a mask leaves visible. Whoever asks for the target or the context encoder gets it.
        predictor: guesses pixels: its `encoder_dim` must be the encoder's `embed_dim`, its `target_dim` the numbers
            that a tubelet has (3 colours x frames x height x width).
        learning_rate, weight_decay: of AdamW, over optimizer steps.
        betas, eps: of AdamW.
        normalize_tubelets: each colour of a hidden tubelet is brought to zero mean and unit variance first, as
            published. Without it pixels are compared as the encoder gets them, and a prediction can be looked at
            without knowing the truth.
    """

    def __init__(
        self,
        encoder: VideoEncoder,
        predictor: Predictor,
        learning_rate: Schedule,
        weight_decay: Schedule,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        normalize_tubelets: bool = True,
    ):
        super().__init__(learning_rate, weight_decay, betas, eps)
        frames, height, width = encoder.tubelet
        num_pixels = 3 * frames * height * width
        predictor.require_encoder_of(encoder.embed_dim)
        if predictor.target_dim != num_pixels:
            raise ValueError(
                f"the predictor's target_dim ({predictor.target_dim}) must be the numbers of a tubelet of 3 colours x "
                f"{frames} x {height} x {width} pixels; give --model.predictor.target_dim={num_pixels}"
            )
        if encoder.image_tokenizer or encoder.num_output_levels > 1 or predictor.num_levels > 1:
            raise ValueError(
                "a pixel baseline predicts tubelets of videos from the last level; leave out image_tokenizer, "
                "output_levels and num_levels"
            )
        self.encoder = encoder
        self.predictor = predictor
        predictor.freeze_unused(mask_tokens=True, context=True)
        self.normalize_tubelets = normalize_tubelets

    def losses(self, batch: ClipBatch) -> dict[str, Tensor]:  # () each; "loss" is the mean of the others
        clips = normalize_clips(batch.clips)  # (B, 3, T, H, W)
        pixels = self.target_pixels(clips)  # (B, N, P)
        of_masks = [
            pixel_prediction_loss(self.predicted_pixels(clips, mask), gather_tokens(pixels, mask.target_ids))
            for mask in batch.masks
        ]
        losses = {f"loss_mask{number}": loss for number, loss in enumerate(of_masks)}
        return {"loss": torch.stack(of_masks).mean(), **losses}

    def predict_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """Tokens of whole clips, (B, N, D)."""
        return self.encoder(normalize_clips(batch.clips))

    def target_pixels(
        self,
        clips: Tensor,  # (B, 3, T, H, W) normalised
    ) -> Tensor:  # (B, N, P)
        pixels = tubelet_pixels(clips, self.encoder.tubelet)
        return normalized_tubelets(pixels) if self.normalize_tubelets else pixels

    def predicted_pixels(
        self,
        clips: Tensor,  # (B, 3, T, H, W) normalised; of hidden tubelets nothing is seen
        mask: TubeMask,
    ) -> Tensor:  # (B, Nt, P)
        context = self.encoder(clips, mask.context_ids)  # (B, Nc, D)
        return self.predictor(context, mask, self.encoder.grid_of(clips))

    # What watches and probes a JEPA finds its encoders by these names.

    @property
    def context_encoder(self) -> VideoEncoder:
        return self.encoder

    @property
    def target_encoder(self) -> VideoEncoder:
        return self.encoder

    @property
    def encoder_of_targets(self) -> VideoEncoder:
        """The encoder itself: what is logged of target tokens is that of the context's."""
        return self.encoder

    def trained_parts(self) -> list[nn.Module]:
        return [self.encoder, self.predictor]
