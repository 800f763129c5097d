"""Pictures of masks, features, prediction errors and nearest clips.

A clip is a strip with one frame for each tubelet of time; the strips of several clips are below each other.
"""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from vjepa.evaluation.captions import Picture, Scale, Swatch, captioned
from vjepa.grid import TokenGrid, on_grid
from vjepa.masking import TubeMask

GAP = 2  # white pixels between frames and between clips


@torch.no_grad()
def masks_picture(clips: UInt8[Tensor, "B 3 T H W"], mask: TubeMask, grid: TokenGrid) -> Picture:
    """Clips, and below each its masked version: hidden tubelets are grey, those of neither set are dark."""
    frames = _frames(clips, grid)
    visible, hidden = (on_grid(torch.ones(*ids.shape, 1, device=ids.device), ids, grid) for ids in mask)
    visible, hidden = (_over_frames(each, frames) > 0.5 for each in (visible, hidden))  # (B, F, H, W, 1)
    seen = torch.where(visible, frames, torch.where(hidden, torch.full_like(frames, 0.5), 0.25 * frames))
    return strips(torch.stack((frames, seen), dim=1).flatten(0, 1))


@torch.no_grad()
def features_picture(
    clips: UInt8[Tensor, "B 3 T H W"],
    tokens: Float[Tensor, "B N D"],  # of whole clips
    grid: TokenGrid,
    axes: Float[Tensor, "D 3"],
) -> Picture:
    """Clips, and below each its tokens: red, green and blue are the coordinates on three axes."""
    frames = _frames(clips, grid)
    coordinates = (tokens.detach().float() - tokens.detach().float().mean(dim=(0, 1))) @ axes  # (B, N, 3)
    # Six standard deviations fill the range of a colour, so that an outlier does not turn all others grey.
    colours = 0.5 + coordinates / (6 * coordinates.std(dim=(0, 1)).clamp_min(1e-12))
    drawn = _over_frames(colours.clamp(0, 1).unflatten(1, grid), frames)
    return strips(torch.stack((frames, drawn), dim=1).flatten(0, 1))


@torch.no_grad()
def errors_picture(
    clips: UInt8[Tensor, "B 3 T H W"],
    losses: Float[Tensor, "B Nt"],  # of hidden tokens
    mask: TubeMask,
    grid: TokenGrid,
) -> Picture:
    """Clips in grey; hidden tubelets from blue (no error) over white to red (the largest of these clips)."""
    frames = _frames(clips, grid).mean(dim=-1, keepdim=True).expand(-1, -1, -1, -1, 3)
    ratio = (losses.detach().float() / losses.max().clamp_min(1e-12)).unsqueeze(-1)
    hidden = _over_frames(on_grid(torch.ones_like(ratio), mask.target_ids, grid), frames) > 0.5
    error = _over_frames(on_grid(ratio, mask.target_ids, grid), frames)
    return strips(torch.where(hidden, 0.3 * frames + 0.7 * _blue_to_red(error), frames))


@torch.no_grad()
def neighbours_picture(
    clips: UInt8[Tensor, "B 3 T H W"],
    features: Float[Tensor, "B D"],  # one vector for each clip
    num_queries: int = 4,
    num_neighbours: int = 3,
) -> Picture:
    """A row for each of the first clips: its first and middle frame, then those of the clips nearest to it.

    Distance is the cosine of centred features.
    """
    directions = F.normalize(features.detach().float() - features.detach().float().mean(dim=0), dim=-1)
    cosines = directions[:num_queries] @ directions.T  # (Q, B)
    cosines.fill_diagonal_(-torch.inf)
    nearest = cosines.topk(min(num_neighbours, len(clips) - 1), dim=1).indices.cpu()
    queries = torch.arange(len(nearest)).unsqueeze(1)
    first_and_middle = clips.detach().cpu()[:, :, [0, clips.shape[2] // 2]].permute(0, 2, 3, 4, 1).float() / 255
    rows = first_and_middle[torch.cat((queries, nearest), dim=1)]  # (Q, 1 + K, 2, H, W, 3)
    return strips(rows.flatten(1, 2))


def with_caption(
    picture: Picture, name: str, largest: float | None = None
) -> UInt8[np.ndarray, "more_rows more_columns 3"]:
    """A picture under its title, over what is drawn and the meaning of its colours.

    Args:
        name: `mask0`, `features`, `error1`, `neighbours`.
        largest: loss of the reddest tokens of an `error` picture.
    """
    number = name.lstrip("abcdefghijklmnopqrstuvwxyz")
    strip = "A strip is a clip, one frame for each tubelet of time."
    if name.startswith("mask"):
        swatches = [
            Swatch((128, 128, 128), "hidden: to be predicted"),
            Swatch((40, 40, 40), "neither seen nor predicted"),
        ]
        sentence = f"{strip} Below it, what the context encoder sees of it."
        return captioned(picture, f"mask {number}: visible and hidden tokens", [sentence], swatches)
    if name == "features":
        sentence = f"{strip} Below it, its tokens: those of one colour are alike to the encoder. Colours are the first "
        sentence += "three principal components, from -3 to 3 standard deviations:"
        colours = ((220, 60, 60), (60, 180, 60), (60, 60, 220))
        swatches = [Swatch(each, place) for each, place in zip(colours, ("first", "second", "third"), strict=True)]
        return captioned(picture, "features of whole clips", [sentence], swatches)
    if name.startswith("error"):
        scale = Scale(
            (_blue_to_red(torch.linspace(0, 1, 32)[:, None]) * 255).byte().numpy(), "loss 0", f"{largest:.3g}"
        )
        sentence = f"{strip} Hidden tokens have the colour of their loss; visible ones are grey."
        return captioned(picture, f"error {number}: loss of predicted tokens", [sentence], scale=scale)
    sentence = "Each row: a clip (its first and middle frame), then the three clips whose mean tokens are nearest."
    return captioned(picture, "nearest clips, by the cosine of centred embeddings", [sentence])


def _blue_to_red(ratio: Float[Tensor, "*shape 1"]) -> Float[Tensor, "*shape 3"]:
    """Blue at 0, white-green between, red at 1."""
    return torch.cat(((2 * ratio).clamp(0, 1), 1 - (2 * ratio - 1).abs(), (2 - 2 * ratio).clamp(0, 1)), dim=-1)


def _frames(clips: Tensor, grid: TokenGrid) -> Float[Tensor, "B F H W 3"]:  # 0 to 1, the first frame of each tubelet
    step = clips.shape[2] // grid.frames
    return clips.detach().cpu()[:, :, ::step].permute(0, 2, 3, 4, 1).float() / 255


def _over_frames(values: Float[Tensor, "B F h w C"], frames: Float[Tensor, "B F H W 3"]) -> Float[Tensor, "B F H W C"]:
    rows, columns = (frames.shape[axis] // values.shape[axis] for axis in (2, 3))
    return values.cpu().repeat_interleave(rows, dim=2).repeat_interleave(columns, dim=3)


def strips(frames: Float[Tensor, "R F H W 3"]) -> Picture:
    """A picture of frames from 0 to 1, a row for each R."""
    spaced = F.pad(frames, (0, 0, 0, GAP, 0, GAP), value=1.0)  # to the right of each frame, and below it
    picture = spaced.permute(0, 2, 1, 3, 4).flatten(2, 3).flatten(0, 1)[:-GAP, :-GAP]
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
