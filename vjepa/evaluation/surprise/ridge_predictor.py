"""A stand-in for a missing predictor (LeVJEPA): ridge regression from past tokens to later ones at their place."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.data.clips.batch import normalize_clips
from vjepa.data.clips.matched_pairs import WholeClip
from vjepa.evaluation.planning.ridge_regression import ridge_regression
from vjepa.evaluation.surprise.latent_surprise import Context, LatentSurprise, Predict, plane_of
from vjepa.evaluation.surprise.windows import cut
from vjepa.objectives import normalized_targets

MOST_CLIPS = 200
MOST_ROWS = 16_384  # places of windows


class Linear(NamedTuple):
    weights: Float[Tensor, "past future"]
    mean_past: Float[Tensor, " past"]
    mean_future: Float[Tensor, " future"]


def fit_ridge(latents: LatentSurprise, clips: Iterable[WholeClip], num_clips: int) -> Predict:
    """Fits, for each context length, the tokens of all later tubelets from the last two of the past (one where the
    context is one), on the first windows of each clip. Raises ValueError where there is no clip."""
    pasts: dict[int, list[Tensor]] = {}
    futures: dict[int, list[Tensor]] = {}
    rows = -(-MOST_ROWS // num_clips)  # of a clip and context length
    with torch.inference_mode():
        for clip in clips:
            starts = latents.windows.starts(clip.frames.shape[1])[: latents.windows.batch_size]
            pixels = cut(clip.frames, starts, latents.windows.num_frames)
            windows = normalize_clips(pixels.to(latents.device))
            targets = latents.targets(windows)
            for context in latents.contexts(windows):
                length = context.tokens.shape[1]
                future = _by_place(targets[:, length:], context)
                step = max(1, len(future) // rows)
                pasts.setdefault(length, []).append(_past(context, latents.num_levels)[::step])
                futures.setdefault(length, []).append(future[::step])
    if not pasts:
        raise ValueError("no clip of the training manifest can be read, so that nothing stands in for the predictor")
    fits = {length: _fitted(torch.cat(pasts[length]), torch.cat(futures[length])) for length in pasts}

    def predict(context: Context) -> Tensor:
        fit = fits[context.tokens.shape[1]]
        future = (_past(context, latents.num_levels) - fit.mean_past) @ fit.weights + fit.mean_future
        places = future.unflatten(0, (len(context.tokens), -1))  # (B, P, t * D)
        return places.unflatten(2, (-1, context.tokens.shape[-1])).transpose(1, 2).flatten(1, 2)

    return predict


def _fitted(past: Float[Tensor, "R past"], future: Float[Tensor, "R future"]) -> Linear:
    means = past.mean(0), future.mean(0)
    return Linear(ridge_regression(past - means[0], future - means[1]), *means)


def _past(context: Context, num_levels: int) -> Float[Tensor, "B_P past"]:
    tokens = normalized_targets(context.tokens, num_levels)
    return _by_place(tokens[:, -2 * plane_of(context.grid) :], context)


def _by_place(tokens: Float[Tensor, "B N D"], context: Context) -> Float[Tensor, "B_P t_D"]:
    return tokens.unflatten(1, (-1, plane_of(context.grid))).transpose(1, 2).flatten(2).flatten(0, 1)
