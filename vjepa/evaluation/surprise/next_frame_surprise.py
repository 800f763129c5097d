"""Surprise of a predictor that reads the past alone: each frame is predicted from all frames before it, in one pass."""

import torch
from torch import Tensor

from vjepa.data.clips.batch import normalize_clips
from vjepa.data.clips.matched_pairs import WholeClip
from vjepa.evaluation.accelerator import Precision, autocast
from vjepa.evaluation.surprise.windows import PastWindows, Surprise, assembled, pooled, setting_names
from vjepa.masking import TubeMask, next_frames_mask
from vjepa.models import Predictor, VideoEncoder, encode_levels
from vjepa.objectives import normalized_targets
from vjepa.objectives.latent_prediction import token_distances


class NextFrameSurprise:
    """Prediction errors of whole clips, where a window's context would forget what came before it.

    Args:
        name: row of the table.
        encoder, target_encoder: of context and targets, with `per_frame` or causal attention.
        predictor: one that `reads_past_alone`.
        windows: the least of its `context_lengths` comes before the first predicted frame; its distance is used.
        device, precision: of the networks.
    """

    def __init__(
        self,
        name: str,
        encoder: VideoEncoder,
        target_encoder: VideoEncoder,
        predictor: Predictor,
        windows: PastWindows,
        device: torch.device,
        precision: Precision,
    ):
        windows.require_tubelets(encoder.tubelet[0])
        self.rows = [name]
        self.encoder, self.target_encoder = (each.to(device).eval() for each in (encoder, target_encoder))
        self.predictor = predictor.to(device).eval()
        self.windows = windows
        self.device = device
        self.precision: Precision = precision
        self.first_context = min(windows.context_lengths)
        self.settings = setting_names(["all frames before"])

    @torch.inference_mode()
    def __call__(self, clip: WholeClip) -> dict[str, Surprise]:
        length, num_frames = self.encoder.tubelet[0], clip.frames.shape[1]
        num_tubelets = num_frames // length
        if num_tubelets <= self.first_context // length:
            raise ValueError(
                f"it has {num_frames} frames at this rate, too few for a context of {self.first_context}; give smaller "
                f"--windows.context_lengths, or a higher rate"
            )
        clips = normalize_clips(clip.frames[None, :, : num_tubelets * length].to(self.device))
        with autocast(self.device, self.precision):
            errors = self.errors(clips)[0]  # (tubelets that are predicted, places)
        starts = length * torch.arange(len(errors))
        pools = [pooled(errors.unsqueeze(1))]
        return {self.rows[0]: assembled(pools, starts, [self.first_context], length, num_frames)}

    def errors(self, clips: Tensor) -> Tensor:
        """Distances to the targets, (B, tubelets after the first context, places), of clips (B, 3, T, H, W)."""
        grid, levels = self.encoder.grid_of(clips), self.predictor.num_levels
        mask = next_frames_mask(grid, self.first_context // self.encoder.tubelet[0])
        mask = TubeMask(*(ids.to(clips.device).expand(len(clips), -1) for ids in mask))
        predicted = self.predictor(
            encode_levels(self.encoder, clips, levels, mask.context_ids), mask, grid, self.windows.mask_token
        )
        targets = normalized_targets(encode_levels(self.target_encoder, clips, levels), levels)
        how = self.windows.exponent, self.windows.distance
        distances = token_distances(predicted, targets[:, -predicted.shape[1] :], *how).mean(-1)
        return distances.unflatten(1, (-1, grid.height * grid.width))
