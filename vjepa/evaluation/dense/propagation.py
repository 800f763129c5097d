"""Propagation of a first mask through a video by nearest tokens: the protocol of DINO (arXiv 2104.14294, section 4.2.2;
Jabri et al., arXiv 2006.14613).

A token takes the labels of its nearest tokens in the frames with a given mask and in the last few frames. Three things
differ: a token's first label is the fraction of its area that each object covers, not the value at one pixel; the
neighbourhood is in tokens of a smaller frame; and features of a video encoder have seen the other frames of a window.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int32
from torch import Tensor

from vjepa.data.segmentation.mask_files import VOID, Masks
from vjepa.evaluation.dense.frame_maps import upsampled


@dataclass(frozen=True)
class Propagation:
    """Settings of the protocol; the values are DINO's but for the neighbourhood, 12 of 60 rows of tokens there.

    Args:
        num_last_frames: frames before the current one that are looked up, beside those with a given mask.
        num_neighbours: nearest tokens whose labels are averaged.
        neighbourhood: nearest tokens are at most so many rows and so many columns away; anywhere if None.
        temperature: of the softmax over cosines.
        whiten: compare tokens by features that are uncorrelated and of one variance over the video. Not in DINO's
            protocol; tokens of small encoders share most of their length, and are told apart by the rest.
    """

    num_last_frames: int = 7
    num_neighbours: int = 5
    neighbourhood: int | None = 3
    temperature: float = 0.1
    whiten: bool = False

    def __post_init__(self) -> None:
        if min(self.num_last_frames, self.num_neighbours) < 1 or not self.temperature > 0:
            raise ValueError(
                f"num_last_frames ({self.num_last_frames}) and num_neighbours ({self.num_neighbours}) must be at least "
                f"1, and temperature ({self.temperature}) more than 0"
            )
        if self.neighbourhood is not None and self.neighbourhood < 0:
            raise ValueError(f"neighbourhood ({self.neighbourhood}) must not be negative; null is no limit")


@torch.no_grad()
def propagated_masks(maps: Float[Tensor, "T h w D"], given: Masks, settings: Propagation) -> Int32[np.ndarray, "T H W"]:
    """Object numbers of every pixel, 0 for ground.

    Args:
        maps: features of every frame.
        given: (T, H, W) object numbers of frames whose mask is given, VOID elsewhere; the first frame must have one. In
            later frames only objects that no earlier frame has are taken over (YouTube-VOS).
        settings: of the protocol.

    Raises ValueError where the first frame has no mask.
    """
    has_mask = (given != VOID).any(axis=(1, 2))
    if not has_mask[0]:
        raise ValueError("the first frame has no mask, so that there is nothing to propagate")
    grid, size = maps.shape[1:3], given.shape[1:]
    objects = [number for number in np.unique(given).tolist() if number > 0]
    numbers = np.array([0, *objects], np.int32)
    tokens = whitened(maps) if settings.whiten else maps
    tokens = F.normalize(tokens.flatten(1, 2), dim=-1)  # (T, N, D)
    near = _near(grid, settings.neighbourhood)
    labels = torch.zeros(len(maps), tokens.shape[1], len(numbers))
    masks = np.zeros(given.shape, np.int32)
    known: set[int] = set()
    anchors: list[int] = []
    for frame in range(len(maps)):
        if frame:
            context = sorted({*anchors, *range(max(0, frame - settings.num_last_frames), frame)})
            labels[frame] = _from_neighbours(tokens[frame], tokens[context], labels[context], near, settings)
            shown = _stretched(upsampled(labels[frame].view(1, *grid, -1), size)[0])
            masks[frame] = numbers[shown.argmax(0).numpy()]
        new = [number for number in np.unique(given[frame]).tolist() if number > 0 and number not in known]
        if new or not frame:
            anchors.append(frame)
            masks[frame] = np.where(np.isin(given[frame], new), given[frame], masks[frame])
            known |= set(new)
            one_hot = torch.from_numpy(masks[frame][..., None] == numbers).float()  # (H, W, objects)
            labels[frame] = F.interpolate(one_hot.movedim(-1, 0)[None], grid, mode="area")[0].flatten(1).T
    return masks


def whitened(maps: Float[Tensor, "T h w D"]) -> Float[Tensor, "T h w D2"]:
    """Uncorrelated features of one variance over all tokens, and a constant.

    Of few features the constant makes neighbours by cosine those at the least distance; of many it does not matter.
    """
    tokens = (maps - maps.mean((0, 1, 2))).double()
    variances, axes = torch.linalg.eigh(tokens.flatten(0, 2).T @ tokens.flatten(0, 2) / tokens[..., 0].numel())
    scale = (variances + 1e-2 * variances.mean()).clamp_min(1e-12).rsqrt()
    return F.pad((tokens @ (axes * scale)).float(), (0, 1), value=2.0)


def _from_neighbours(
    query: Float[Tensor, "N D"],
    context: Float[Tensor, "C N D"],
    labels: Float[Tensor, "C N K"],
    near: Float[Tensor, "N N"] | None,  # 0 for pairs that may be neighbours, -inf for others
    settings: Propagation,
) -> Float[Tensor, "N K"]:
    cosines = torch.einsum("nd,cmd->ncm", query, context)
    if near is not None:
        cosines = cosines + near[:, None]
    nearest = cosines.flatten(1).topk(min(settings.num_neighbours, cosines[0].numel()), dim=1)
    weights = (nearest.values / settings.temperature).softmax(dim=1)  # of -inf it is 0
    return torch.einsum("nk,nkc->nc", weights, labels.flatten(0, 1)[nearest.indices])


def _near(grid: torch.Size, neighbourhood: int | None) -> Float[Tensor, "N N"] | None:
    if neighbourhood is None:
        return None
    rows, columns = (axis.flatten() for axis in torch.meshgrid(*map(torch.arange, grid), indexing="ij"))
    away = torch.maximum((rows[:, None] - rows).abs(), (columns[:, None] - columns).abs())
    return torch.where(away <= neighbourhood, 0.0, -torch.inf)


def _stretched(scores: Float[Tensor, "K H W"]) -> Float[Tensor, "K H W"]:
    """Each object's scores from 0 to 1, so that a small or blurred one is not lost (as in DINO's code)."""
    low, high = scores.amin((1, 2), keepdim=True), scores.amax((1, 2), keepdim=True)
    return torch.where(high > low, (scores - low) / (high - low).clamp_min(1e-12), scores)


def copied_masks(given: Masks) -> Int32[np.ndarray, "T H W"]:
    """The baseline of no motion: every object stays where it was given."""
    masks = np.zeros(given.shape, np.int32)
    known: set[int] = set()
    for frame in range(len(given)):
        masks[frame] = masks[frame - 1] if frame else 0
        new = [number for number in np.unique(given[frame]).tolist() if number > 0 and number not in known]
        masks[frame] = np.where(np.isin(given[frame], new), given[frame], masks[frame])
        known |= set(new)
    return masks
