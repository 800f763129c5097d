"""Prediction losses of hidden tokens beside those of trivial predictions, and by time to the nearest visible token.

All losses here are of tokens, (B, Nt): the mean over features of the distance that the run minimises.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vjepa.grid import TokenGrid, gather_tokens
from vjepa.masking import TubeMask
from vjepa.objectives import LatentPrediction

PAIRS_AT_ONCE = 2**23  # of hidden and visible tokens: 64 MB for each number that is kept of a pair


class NearestVisible(NamedTuple):
    """For each hidden token the nearest visible one on the grid of tokens; of several the nearest in time."""

    token_ids: Int64[Tensor, "B Nt"]
    frames_away: Int64[Tensor, "B Nt"]  # how many tubelets earlier or later


class TrivialLosses(NamedTuple):
    """Losses of predictions that need no learning.

    NaN where there is none: a batch of one clip has no others, tokens of the first frame have none before them.
    """

    mean_token: Float[Tensor, "B Nt"]  # the mean target token of the other clips of the batch at that place
    nearest_visible: Float[Tensor, "B Nt"]  # the nearest visible token's target
    previous_frame: Float[Tensor, "B Nt"]  # the target at the same place one tubelet earlier, be it visible or hidden


@torch.no_grad()
def token_losses(
    predicted: Float[Tensor, "B Nt D"], target: Float[Tensor, "B Nt D"], prediction: LatentPrediction
) -> Float[Tensor, "B Nt"]:
    return prediction.token_losses(predicted.detach(), target.detach()).mean(dim=-1)


@torch.no_grad()
def nearest_visible(mask: TubeMask, grid: TokenGrid) -> NearestVisible:
    visible, hidden = (grid.positions(ids) for ids in mask)  # (B, Nc, 3), (B, Nt, 3)
    num_visible, num_hidden = visible.shape[1], hidden.shape[1]
    clips_at_once = max(1, PAIRS_AT_ONCE // (num_visible * num_hidden))
    nearest = [
        _nearest_places(*parts, grid)
        for parts in zip(hidden.split(clips_at_once), visible.split(clips_at_once), strict=True)
    ]
    token_ids = mask.context_ids.gather(1, torch.cat(nearest))
    frame, frame_of_nearest = (grid.positions(ids)[..., 0] for ids in (mask.target_ids, token_ids))
    return NearestVisible(token_ids, (frame - frame_of_nearest).abs())


def _nearest_places(
    hidden: Int64[Tensor, "B Nt 3"], visible: Int64[Tensor, "B Nc 3"], grid: TokenGrid
) -> Int64[Tensor, "B Nt"]:  # indices of the visible
    frames, rows, columns = (
        hidden[..., axis].unsqueeze(2) - visible[..., axis].unsqueeze(1) for axis in range(3)
    )  # (B, Nt, Nc)
    distance = frames.square() + rows.square() + columns.square()
    # A hidden token that is itself visible, to later frames (NextFrames), is predicted from earlier frames alone.
    is_seen_later = (distance == 0).any(dim=-1, keepdim=True)
    distance = distance.masked_fill(is_seen_later & (frames <= 0), grid.num_tokens**2)
    # Whole numbers, and the place itself as the last digit: of equals the first is taken, on every device.
    number = torch.arange(visible.shape[1], device=visible.device)
    return ((distance * grid.frames + frames.abs()) * len(number) + number).argmin(dim=-1)


@torch.no_grad()
def trivial_losses(
    targets: Float[Tensor, "B N D"],  # target tokens of whole clips
    mask: TubeMask,
    grid: TokenGrid,
    nearest: NearestVisible,
    prediction: LatentPrediction,
) -> TrivialLosses:
    targets = targets.detach().float()
    hidden_targets = gather_tokens(targets, mask.target_ids)
    num_clips, tokens_per_frame = len(targets), grid.height * grid.width
    unknown = torch.full_like(hidden_targets[..., 0], float("nan"))

    mean_token = unknown
    if num_clips > 1:
        others_mean = (targets.sum(dim=0) - targets) / (num_clips - 1)  # without the clip itself
        mean_token = token_losses(gather_tokens(others_mean, mask.target_ids), hidden_targets, prediction)
    seen = gather_tokens(targets, nearest.token_ids)
    earlier = mask.target_ids - tokens_per_frame
    before = gather_tokens(targets, earlier.clamp_min(0))
    previous_frame = token_losses(before, hidden_targets, prediction)
    return TrivialLosses(
        mean_token,
        token_losses(seen, hidden_targets, prediction),
        torch.where(earlier >= 0, previous_frame, unknown),
    )


@torch.no_grad()
def loss_ratio(
    losses: Float[Tensor, "..."],  # of the predictor
    trivial: Float[Tensor, "..."],  # of a trivial prediction of the same tokens, NaN where there is none
) -> float:
    """Mean loss over mean trivial loss, of the tokens that have one: below 1 the predictor is better. NaN for none."""
    known = ~trivial.isnan()
    return float(losses[known].mean() / trivial[known].mean().clamp_min(torch.finfo(trivial.dtype).tiny))


@torch.no_grad()
def losses_by_time(losses: Float[Tensor, "B Nt"], frames_away: Int64[Tensor, "B Nt"]) -> dict[str, float]:
    """Mean loss of hidden tokens whose nearest visible token is 0, 1, 2 to 3, 4 to 7, ... tubelets away in time.

    Distances that no token has are left out. Keys are "0", "1", "2_3", "4_7", ...
    """
    means, first, last = {}, 0, 0
    furthest = int(frames_away.max())
    while first <= furthest:
        inside = (frames_away >= first) & (frames_away <= last)
        if inside.any():
            means[str(first) if first == last else f"{first}_{last}"] = float(losses[inside].mean())
        first, last = last + 1, 2 * last + 1
    return means
