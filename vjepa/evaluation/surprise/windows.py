"""Windows that slide over a clip: the first frames are context, and the error of predicting the others is surprise.

The protocol of V-JEPA's intuitive physics (Garrido et al. 2025, arXiv 2502.11831): several context lengths, windows at
a small stride, and a window's surprise is its mean error over all predicted tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor

from vjepa.data.clips.matched_pairs import WholeClip
from vjepa.objectives import Distance

POOLS = ("mean of tokens", "top tenth of tokens", "largest of tokens")
LEAST = "least of all contexts"


@dataclass(frozen=True)
class PastWindows:
    """How windows are cut, and what is compared in them.

    Args:
        num_frames: of a window, at the rate of the clips: context and predicted frames.
        context_lengths: first frames of a window that are seen; each is tried, and the least surprise of all of them.
        stride: frames from one window's start to the next; a last window ends with the clip.
        targets: what the target encoder sees of a window: all of it, as in training and as published, or "past", the
            frames up to the predicted one, at one encoding for each predicted tubelet. The context is the past in both.
        distance: of predicted tokens to target tokens, as in `vjepa.objectives.LatentPrediction`.
        exponent: of the distance.
        mask_token: of a predictor that has several (V-JEPA 1: 0 of its short-range mask, 1 of its long-range one).
        batch_size: windows that are encoded at once.
    """

    num_frames: int = 16
    context_lengths: tuple[int, ...] = (2, 4, 6, 8, 10)
    stride: int = 2
    targets: Literal["window", "past"] = "window"
    distance: Distance = "power"
    exponent: float = 1.0
    mask_token: int = 0
    batch_size: int = 16

    def __post_init__(self) -> None:
        for name in ("stride", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"windows.{name} ({getattr(self, name)}) must be at least 1")
        if not self.context_lengths or not all(0 < each < self.num_frames for each in self.context_lengths):
            raise ValueError(
                f"windows.context_lengths ({list(self.context_lengths)}) must each be from 1 to below the window's "
                f"num_frames ({self.num_frames}), so that something is left to predict"
            )

    def require_tubelets(self, length: int) -> None:
        """Raise ValueError where windows or contexts are no whole number of tubelets of this many frames."""
        for name, frames in (("num_frames", self.num_frames), *(("context_lengths", c) for c in self.context_lengths)):
            if frames % length:
                raise ValueError(f"windows.{name} ({frames}) must be a multiple of the tubelet's {length} frames")

    def starts(self, num_frames: int) -> Int64[Tensor, " W"]:
        """First frames of all windows of a clip. Raises ValueError where it is shorter than one."""
        last = num_frames - self.num_frames
        if last < 0:
            raise ValueError(
                f"it has {num_frames} frames at this rate, fewer than a window of {self.num_frames} (context and "
                f"prediction); give smaller --windows.num_frames and --windows.context_lengths, or a higher rate"
            )
        return torch.tensor(sorted({*range(0, last + 1, self.stride), last}))


class Surprise(NamedTuple):
    """Of one clip, in S settings: each context length and the least of them, times each of `POOLS`."""

    windows: Float32[Tensor, "S W"]  # of each window
    curve: Float32[Tensor, "S F"]  # of each frame, the mean over windows that predict it; NaN where none does


class Scorer(Protocol):
    """Gives one or several rows of the table their surprise at a clip."""

    @property
    def rows(self) -> Sequence[str]: ...

    @property
    def settings(self) -> Sequence[str]:
        """Names of the S settings."""
        ...

    def __call__(self, clip: WholeClip) -> dict[str, Surprise]: ...


def setting_names(contexts: Sequence[str]) -> list[str]:
    """Names of settings in the order of `assembled`."""
    all_contexts = [*contexts, LEAST] if len(contexts) > 1 else contexts
    return [f"{context}, {pool}" for context in all_contexts for pool in POOLS]


def cut(
    frames: UInt8[Tensor, "3 F H W"], starts: Int64[Tensor, " n"], num_frames: int
) -> UInt8[Tensor, "n 3 num_frames H W"]:
    return torch.stack([frames[:, start : start + num_frames] for start in starts.tolist()])


def pooled(errors: Float[Tensor, "W T P"]) -> Float32[Tensor, "pools W T"]:
    """Over the P places of a frame. What moves covers few of them, which their mean dilutes."""
    most = errors.topk(max(1, errors.shape[-1] // 10), dim=-1).values
    return torch.stack((errors.mean(-1), most.mean(-1), most[..., 0])).float().cpu()


def assembled(
    errors: Sequence[Float32[Tensor, "pools W _"]],  # of each context length, over predicted steps of time
    starts: Int64[Tensor, " W"],
    context_lengths: Sequence[int],
    frames_per_step: int,
    num_frames: int,  # of the clip
) -> Surprise:
    windows = [each.mean(-1) for each in errors]
    curves = []
    for each, context in zip(errors, context_lengths, strict=True):
        values = each.repeat_interleave(frames_per_step, dim=-1)
        frame = starts.unsqueeze(1) + context + torch.arange(values.shape[-1])  # (W, T * frames_per_step)
        sums = torch.zeros(len(values), num_frames).index_add(1, frame.flatten(), values.flatten(1))
        curves.append(sums / torch.bincount(frame.flatten(), minlength=num_frames))  # 0 / 0 is NaN
    if len(errors) > 1:
        windows.append(torch.stack(windows).amin(0))
        known = torch.stack(curves)
        least = known.nan_to_num(nan=torch.inf).amin(0)
        curves.append(least.masked_fill(known.isnan().all(0), torch.nan))
    return Surprise(torch.cat(windows), torch.cat(curves))
