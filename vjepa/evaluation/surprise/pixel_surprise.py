"""Surprise without a model: what follows is the last frame, or what moved goes on; how pixels and their flow change."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.data.clips.matched_pairs import WholeClip
from vjepa.evaluation.probes.histogram_features import optical_flow
from vjepa.evaluation.surprise.windows import PastWindows, Surprise, assembled, cut, pooled, setting_names

PIXEL_COPY, PIXEL_VELOCITY = "copy of pixels", "velocity of pixels"
DIFFERENCE, FLOW = "change of pixels", "change of flow"


class PixelSurprise:
    """Errors, between 0 and 1, of two rules in the windows of a model: `PIXEL_COPY` and `PIXEL_VELOCITY`.

    The second goes on changing as between the last two context frames; with one of them it copies.
    """

    def __init__(self, windows: PastWindows, rows: Sequence[str]):
        self.windows = windows
        self.rows = rows
        self.settings = setting_names([f"context {frames}" for frames in windows.context_lengths])

    def __call__(self, clip: WholeClip) -> dict[str, Surprise]:
        starts, lengths = self.windows.starts(clip.frames.shape[1]), self.windows.context_lengths
        errors: dict[str, list[list[Tensor]]] = {row: [[] for _ in lengths] for row in self.rows}
        for some in starts.split(self.windows.batch_size):
            pixels = cut(clip.frames, some, self.windows.num_frames).float() / 255
            for number, context in enumerate(lengths):
                past, future = pixels[:, :, :context], pixels[:, :, context:]
                for row in self.rows:
                    difference = predicted_pixels(past, future.shape[2], row == PIXEL_VELOCITY) - future
                    errors[row][number].append(pooled(difference.abs().mean(1).flatten(2)))
        return {
            row: assembled([torch.cat(parts, 1) for parts in found], starts, lengths, 1, clip.frames.shape[1])
            for row, found in errors.items()
        }


def predicted_pixels(
    past: Float[Tensor, "n 3 C H W"], num_frames: int, moving: bool
) -> Float[Tensor, "n 3 num_frames H W"]:
    last = past[:, :, -1:].expand(-1, -1, num_frames, -1, -1)
    if not moving or past.shape[2] == 1:
        return last
    steps = torch.arange(1, num_frames + 1)[:, None, None]
    return (last + steps * (past[:, :, -1:] - past[:, :, -2:-1])).clamp(0, 1)


class FrameSurprise:
    """Change from frame to frame: of pixels (`DIFFERENCE`), or of the optical flow (`FLOW`, in pixels)."""

    def __init__(self, row: str):
        self.rows = [row]
        self.settings = setting_names(["last frames"])

    def __call__(self, clip: WholeClip) -> dict[str, Surprise]:
        row, num_frames = self.rows[0], clip.frames.shape[1]
        if row == FLOW:
            change = optical_flow(clip.frames[None])[0].diff(dim=0).norm(dim=-1)  # (F - 2, H, W)
        else:
            change = (clip.frames.float() / 255).diff(dim=1).abs().mean(0)  # (F - 1, H, W)
        starts = torch.arange(len(change))
        errors = [pooled(change.flatten(1).unsqueeze(1))]
        return {row: assembled(errors, starts, [num_frames - len(change)], 1, num_frames)}
