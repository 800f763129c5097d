"""Pictures of what a JEPA sees and says, as arrays of uint8: masks, features, errors, and clips that are near.

A clip is drawn as a strip, one frame for each tubelet of time; several clips are strips below each other.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vjepa.grid import TokenGrid
from vjepa.masking import TubeMask

GAP = 2  # white pixels between frames and between clips


@torch.no_grad()
def masks_picture(
    clips: Tensor,  # (B, 3, T, H, W) uint8
    mask: TubeMask,
    grid: TokenGrid,
) -> np.ndarray:  # (H', W', 3) uint8
    """Clips, and below each of them what the mask leaves: hidden tubelets are grey, those of neither set are dark."""
    frames = _frames(clips, grid)
    visible, hidden = (_drawn_at(ids, torch.ones_like(ids, dtype=torch.float32), grid) for ids in mask)
    visible, hidden = (_over_frames(each, frames) > 0.5 for each in (visible, hidden))  # (B, F, H, W, 1)
    seen = torch.where(visible, frames, torch.where(hidden, torch.full_like(frames, 0.5), 0.25 * frames))
    return _strips(torch.stack((frames, seen), dim=1).flatten(0, 1))


@torch.no_grad()
def principal_axes(
    tokens: Tensor,  # (..., D)
    before: Tensor | None = None,  # (D, 3) axes that features were drawn by before
) -> Tensor:  # (D, 3) orthonormal
    """The three directions that tokens spread over most.

    Given the axes of an earlier time, turned and mirrored within their plane so that they lie as near to those as can
    be (orthogonal Procrustes): so colours keep their meaning while features change.
    """
    matrix = tokens.detach().flatten(0, -2).double()
    matrix = matrix - matrix.mean(dim=0)
    axes = torch.linalg.eigh(matrix.T @ matrix).eigenvectors[:, -3:].flip(-1)
    if before is None:
        return axes.float()
    left, _, right = torch.linalg.svd(axes.T @ before.double())
    return (axes @ left @ right).float()


@torch.no_grad()
def features_picture(
    clips: Tensor,  # (B, 3, T, H, W) uint8
    tokens: Tensor,  # (B, N, D) of whole clips
    grid: TokenGrid,
    axes: Tensor,  # (D, 3)
) -> np.ndarray:  # (H', W', 3) uint8
    """Clips, and below each of them its tokens: red, green and blue are their places on three axes."""
    frames = _frames(clips, grid)
    places = (tokens.detach().float() - tokens.detach().float().mean(dim=(0, 1))) @ axes  # (B, N, 3)
    # Three standard deviations to either side fill the range of a colour: one odd token doesn't grey all others.
    colours = 0.5 + places / (6 * places.std(dim=(0, 1)).clamp_min(1e-12))
    drawn = _over_frames(colours.clamp(0, 1).unflatten(1, grid), frames)
    return _strips(torch.stack((frames, drawn), dim=1).flatten(0, 1))


@torch.no_grad()
def errors_picture(
    clips: Tensor,  # (B, 3, T, H, W) uint8
    losses: Tensor,  # (B, Nt) of hidden tokens
    mask: TubeMask,
    grid: TokenGrid,
) -> np.ndarray:  # (H', W', 3) uint8
    """Clips in grey; hidden tubelets from blue (no error) over white to red (the largest of these clips)."""
    frames = _frames(clips, grid).mean(dim=-1, keepdim=True).expand(-1, -1, -1, -1, 3)
    share = losses.detach().float() / losses.max().clamp_min(1e-12)
    hidden = _over_frames(_drawn_at(mask.target_ids, torch.ones_like(share), grid), frames) > 0.5
    error = _over_frames(_drawn_at(mask.target_ids, share, grid), frames)
    colours = torch.cat(((2 * error).clamp(0, 1), 1 - (2 * error - 1).abs(), (2 - 2 * error).clamp(0, 1)), dim=-1)
    return _strips(torch.where(hidden, 0.3 * frames + 0.7 * colours, frames))


@torch.no_grad()
def neighbours_picture(
    clips: Tensor,  # (B, 3, T, H, W) uint8
    features: Tensor,  # (B, D), one vector for each clip
    num_queries: int = 4,
    num_neighbours: int = 3,
) -> np.ndarray:  # (H', W', 3) uint8
    """A row for each of the first clips: its middle frame and first, then those of the clips nearest to it.

    Nearest by the cosine of centred features.
    """
    directions = F.normalize(features.detach().float() - features.detach().float().mean(dim=0), dim=-1)
    cosines = directions[:num_queries] @ directions.T  # (Q, B)
    cosines.fill_diagonal_(-torch.inf)
    nearest = cosines.topk(min(num_neighbours, len(clips) - 1), dim=1).indices.cpu()
    queries = torch.arange(len(nearest)).unsqueeze(1)
    first_and_middle = clips.detach().cpu()[:, :, [0, clips.shape[2] // 2]].permute(0, 2, 3, 4, 1).float() / 255
    rows = first_and_middle[torch.cat((queries, nearest), dim=1)]  # (Q, 1 + K, 2, H, W, 3)
    return _strips(rows.flatten(1, 2))


def _frames(clips: Tensor, grid: TokenGrid) -> Tensor:  # (B, F, H, W, 3) 0 to 1, the first frame of each tubelet
    step = clips.shape[2] // grid.frames
    return clips.detach().cpu()[:, :, ::step].permute(0, 2, 3, 4, 1).float() / 255


def _drawn_at(
    token_ids: Tensor,  # (B, K)
    values: Tensor,  # (B, K)
    grid: TokenGrid,
) -> Tensor:  # (B, F, h, w, 1), 0 where nothing was drawn
    empty = values.new_zeros(len(values), grid.num_tokens)
    return empty.scatter(1, token_ids, values).unflatten(1, grid).unsqueeze(-1)


def _over_frames(
    values: Tensor,  # (B, F, h, w, C)
    frames: Tensor,  # (B, F, H, W, 3)
) -> Tensor:  # (B, F, H, W, C)
    rows, columns = (frames.shape[axis] // values.shape[axis] for axis in (2, 3))
    return values.cpu().repeat_interleave(rows, dim=2).repeat_interleave(columns, dim=3)


def _strips(frames: Tensor) -> np.ndarray:
    """(R, F, H, W, 3), 0 to 1: a row of frames for each R."""
    spaced = F.pad(frames, (0, 0, 0, GAP, 0, GAP), value=1.0)  # to the right of each frame, and below it
    picture = spaced.permute(0, 2, 1, 3, 4).flatten(2, 3).flatten(0, 1)[:-GAP, :-GAP]
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
