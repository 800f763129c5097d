"""PixelBaseline: predicts the pixels of hidden tubelets instead of their embeddings (VideoMAE, arXiv 2203.12602).

Encoder, masks, data and schedules are JEPA's, and so is the predictor, whose `target_dim` is the number of values in a
tubelet. There is no second encoder, and pixels can't collapse.
"""

from jaxtyping import Float
from torch import Tensor, nn

from vjepa.data.clips.batch import ClipBatch, normalize_clips
from vjepa.grid import tubelet_pixels
from vjepa.interop.run_folder import EncoderName
from vjepa.masking import TubeMask
from vjepa.models import Predictor, VideoEncoder
from vjepa.objectives import ClipStep, Objective, PixelPrediction
from vjepa.objectives.pixel_prediction import normalized_tubelets
from vjepa.training.clip_model import ClipModel
from vjepa.training.schedule import Schedule


class PixelBaseline(ClipModel):
    """An encoder of visible tokens, and a predictor of hidden pixels.

    Args:
        encoder: sees only visible tokens; it is context and target encoder in one.
        predictor: predicts pixels: its `encoder_dim` must be the encoder's `embed_dim`, its `target_dim` the number of
            values in a tubelet (3 colours x frames x height x width).
        learning_rate, weight_decay: of AdamW, over optimizer steps.
        betas, eps: of AdamW.
        normalize_tubelets: predict each colour of a tubelet at zero mean and unit variance, as published. Without it
            a prediction can be drawn without knowing the truth.
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
        self.objective = Objective({"prediction": PixelPrediction()})
        predictor.freeze_unused(mask_tokens=True, context=True)
        self.normalize_tubelets = normalize_tubelets

    def step(self, batch: ClipBatch) -> ClipStep:
        clips = normalize_clips(batch.clips)  # (B, 3, T, H, W)
        contexts = [self.encoder(clips, mask.context_ids) for mask in batch.masks]
        grid = self.encoder.grid_of(clips)
        step = ClipStep(
            number=self.step_number,
            clips=clips,
            grid=grid,
            masks=batch.masks,
            targets=self.target_pixels(clips),
            whole_tokens=None,
            contexts=contexts,
            predictions=[self.predictor(*pair, grid) for pair in zip(contexts, batch.masks, strict=True)],
            context_predictions=[],
            encode=lambda token_ids: self.encoder(clips, token_ids),
        )
        step.losses = self.objective(step)
        return step

    def target_pixels(self, clips: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B N P"]:
        pixels = tubelet_pixels(clips, self.encoder.tubelet)
        return normalized_tubelets(pixels) if self.normalize_tubelets else pixels

    def predicted_pixels(self, clips: Float[Tensor, "B 3 T H W"], mask: TubeMask) -> Float[Tensor, "B Nt P"]:
        """Pixels of the hidden tubelets, of which the encoder sees nothing."""
        return self.predictor(self.encoder(clips, mask.context_ids), mask, self.encoder.grid_of(clips))

    def get_encoder(self, name: EncoderName) -> VideoEncoder:
        return self.encoder

    def trained_parts(self) -> list[nn.Module]:
        return [self.encoder, self.predictor]
