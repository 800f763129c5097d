"""Surprise of a masked model: how far the tokens of later frames are from those predicted from the past alone."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.data.clips.batch import normalize_clips
from vjepa.data.clips.matched_pairs import WholeClip
from vjepa.evaluation.accelerator import Precision, autocast
from vjepa.evaluation.surprise.windows import PastWindows, Surprise, assembled, cut, pooled, setting_names
from vjepa.grid import TokenGrid
from vjepa.masking import TubeMask, future_mask
from vjepa.models import Predictor, VideoEncoder, encode_levels
from vjepa.objectives import normalized_targets
from vjepa.objectives.latent_prediction import token_distances

COPY, VELOCITY = "copy of latents", "velocity of latents"


class Context(NamedTuple):
    """What is known of a batch of windows, and what is to be predicted."""

    tokens: Float[Tensor, "B Nc levels_D"]  # of the first frames, by the context encoder
    mask: TubeMask
    grid: TokenGrid  # of the whole window


Predict = Callable[[Context], Float[Tensor, "B Nt levels_D"]]


def encode_past(
    encoder: VideoEncoder,
    windows: Float[Tensor, "B 3 T H W"],  # normalised
    num_seen: int,  # first frames; later ones are not read
    num_levels: int = 1,
) -> Float[Tensor, "B K levels_D"]:
    """Tokens of the first frames of windows, at the positions that they have in the whole window.

    The mean of the seen frames takes the place of the others. It is no token's input, but keeps the grid, and so the
    positions where a table of them is stretched over a clip; and `difference_gain` then subtracts the mean of the past.
    """
    seen = windows[:, :, :num_seen]
    unseen = seen.mean(dim=2, keepdim=True).expand(-1, -1, windows.shape[2] - num_seen, -1, -1)
    grid = encoder.grid_of(windows)
    ids = torch.arange(num_seen // encoder.tubelet[0] * plane_of(grid), device=windows.device).expand(len(windows), -1)
    return encode_levels(encoder, torch.cat((seen, unseen), dim=2), num_levels, ids)


class LatentSurprise:
    """Prediction errors in the space of a model's target tokens: of a predictor (`add_row`), and of two rules.

    The rules: what follows equals the last context tokens; or goes on changing as between the last two tubelets.

    Args:
        encoder: of the context.
        target_encoder: of the targets.
        num_levels: output levels of the encoders that are predicted.
        windows: how windows are cut and compared.
        rules: rows of `COPY` and `VELOCITY`.
        device, precision: of the networks.
    """

    def __init__(
        self,
        encoder: VideoEncoder,
        target_encoder: VideoEncoder,
        num_levels: int,
        windows: PastWindows,
        rules: Sequence[str],
        device: torch.device,
        precision: Precision,
    ):
        windows.require_tubelets(encoder.tubelet[0])
        self.encoder, self.target_encoder = (each.to(device).eval() for each in (encoder, target_encoder))
        self.num_levels = num_levels
        self.windows = windows
        self.device = device
        self.precision: Precision = precision
        known: dict[str, Predict] = {COPY: self._copied, VELOCITY: self._extrapolated}
        self.predictions: dict[str, Sequence[Predict]] = {rule: [known[rule]] for rule in rules}
        self.settings = setting_names([f"context {frames}" for frames in windows.context_lengths])

    @property
    def rows(self) -> list[str]:
        return list(self.predictions)

    def add_row(self, name: str, hypotheses: Sequence[Predict]) -> None:
        """Before the other rows. Each hypothesis gives normalised target tokens; of several, a window has the best."""
        self.predictions = {name: hypotheses} | self.predictions

    @torch.inference_mode()
    def __call__(self, clip: WholeClip) -> dict[str, Surprise]:
        starts = self.windows.starts(clip.frames.shape[1])
        errors: dict[str, list[list[Tensor]]] = {row: [[] for _ in self.windows.context_lengths] for row in self.rows}
        for some in starts.split(self.windows.batch_size):
            pixels = cut(clip.frames, some, self.windows.num_frames)
            with autocast(self.device, self.precision):
                clips = normalize_clips(pixels.to(self.device))
                targets = self.targets(clips)
                for number, context in enumerate(self.contexts(clips)):
                    expected = targets[:, context.tokens.shape[1] :]
                    for row, hypotheses in self.predictions.items():
                        least = self._least_distances([predict(context) for predict in hypotheses], expected)
                        errors[row][number].append(pooled(least.unflatten(1, (-1, plane_of(context.grid)))))
        return {
            row: assembled(
                [torch.cat(parts, dim=1) for parts in found],
                starts,
                self.windows.context_lengths,
                self.encoder.tubelet[0],
                clip.frames.shape[1],
            )
            for row, found in errors.items()
        }

    def contexts(self, clips: Float[Tensor, "B 3 T H W"]) -> list[Context]:
        """One for each context length. No frame after a context has any influence on it."""
        grid = self.encoder.grid_of(clips)
        found = []
        for frames in self.windows.context_lengths:
            tokens = encode_past(self.encoder, clips, frames, self.num_levels)
            mask = future_mask(grid, frames // self.encoder.tubelet[0], num_clips=len(clips))
            found.append(Context(tokens, TubeMask(*(ids.to(clips.device) for ids in mask)), grid))
        return found

    def targets(self, clips: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B N levels_D"]:
        """Normalised tokens of windows; of those that are only past, NaN where no context length predicts them."""
        if self.windows.targets == "window":
            return normalized_targets(encode_levels(self.target_encoder, clips, self.num_levels), self.num_levels)
        length, grid = self.target_encoder.tubelet[0], self.target_encoder.grid_of(clips)
        first = min(self.windows.context_lengths)
        found = [
            encode_past(self.target_encoder, clips, end, self.num_levels)[:, -plane_of(grid) :]
            for end in range(first + length, clips.shape[2] + 1, length)
        ]
        unknown = found[0].new_full((len(clips), first // length * plane_of(grid), found[0].shape[-1]), torch.nan)
        return torch.cat((unknown, *(normalized_targets(each, self.num_levels) for each in found)), dim=1)

    def _least_distances(
        self, hypotheses: Sequence[Tensor], expected: Float[Tensor, "B Nt levels_D"]
    ) -> Float[Tensor, "B Nt"]:
        """Of the hypothesis that is nearest to each window as a whole: at a fork each true future is expected."""
        how = self.windows.exponent, self.windows.distance
        distances = torch.stack([token_distances(each, expected, *how).mean(-1) for each in hypotheses])
        best = distances.mean(-1).argmin(0)  # (B,)
        return distances[best, torch.arange(len(best), device=best.device)]

    def _tubelets(self, context: Context) -> Float[Tensor, "B t P levels_D"]:
        return normalized_targets(context.tokens, self.num_levels).unflatten(1, (-1, plane_of(context.grid)))

    def _copied(self, context: Context) -> Tensor:
        last = self._tubelets(context)[:, -1:]
        return last.expand(-1, context.grid.frames - self._tubelets(context).shape[1], -1, -1).flatten(1, 2)

    def _extrapolated(self, context: Context) -> Tensor:
        """A context of a single tubelet has no velocity: it is copied."""
        tubelets = self._tubelets(context)
        if tubelets.shape[1] == 1:
            return self._copied(context)
        steps = torch.arange(1, context.grid.frames - tubelets.shape[1] + 1, device=tubelets.device)
        velocity = tubelets[:, -1:] - tubelets[:, -2:-1]
        return (tubelets[:, -1:] + steps[:, None, None] * velocity).flatten(1, 2)


def plane_of(grid: TokenGrid) -> int:
    """Tokens of one tubelet of frames."""
    return grid.height * grid.width


def hypotheses_of(predictor: Predictor, mask_token: int) -> list[Predict]:
    """Predictions as in training, where the mask hides the future."""

    def predict(context: Context, hypothesis: int) -> Tensor:
        return predictor(context.tokens, context.mask, context.grid, mask_token, hypothesis=hypothesis)

    return [partial(predict, hypothesis=number) for number in range(predictor.num_hypotheses)]
