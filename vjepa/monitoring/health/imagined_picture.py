"""What a world model imagines, as frames: the real frame of another window whose latent is nearest."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vjepa.evaluation.captions import Picture, captioned
from vjepa.monitoring.token_pictures import strips

LEAST_HEIGHT = 128  # pixels of a frame in the film; smaller ones are enlarged


@torch.no_grad()
def imagined_picture(
    frames: UInt8[Tensor, "B T 3 H W"],
    latents: Float[Tensor, "B T N D"],  # of the frames
    rolled: Float[Tensor, "B T-1 N D"],  # imagined from the first frame, by the window's actions
    num_windows: int,
) -> Picture:
    """For some of the windows, evenly spread, the frames, and below them what is imagined from the first one."""
    rows = []
    for window in _spread(num_windows, len(frames)):
        rows += [frames[window], _imagined_frames(frames, latents, rolled, window)]
    sentences = [
        "Upper rows: real frames. Lower rows: the first frame, then what is imagined from it and the actions, as the "
        "nearest real frame of another window."
    ]
    pixels = torch.stack(rows).detach().cpu().permute(0, 1, 3, 4, 2).float() / 255
    return captioned(strips(pixels), "imagined against real", sentences)


@torch.no_grad()
def imagined_film(
    frames: UInt8[Tensor, "B T 3 H W"],
    latents: Float[Tensor, "B T N D"],  # of the frames
    rolled: Float[Tensor, "B T-1 N D"],  # imagined from the first frame, by the window's actions
    num_windows: int,
) -> UInt8[np.ndarray, "T rows columns 3"]:  # rows and columns are even, as H.264 wants them
    """`imagined_picture` over time: windows side by side, the real ones above, the imagined ones below."""
    shown = _spread(num_windows, len(frames))
    imagined = [_imagined_frames(frames, latents, rolled, window) for window in shown]
    pairs = torch.stack((frames[shown], torch.stack(imagined)), dim=1)  # (windows, 2, T, 3, H, W)
    times = -(-LEAST_HEIGHT // pairs.shape[-2])
    enlarged = pairs.detach().cpu().repeat_interleave(times, -2).repeat_interleave(times, -1)
    moments = enlarged.permute(2, 1, 0, 4, 5, 3).float() / 255  # (T, 2, windows, H, W, 3)
    sentences = [
        "Above: real frames. Below: what is imagined from the first frame and the recorded "
        "actions alone, as the nearest real frame of another window."
    ]
    last = len(moments) - 1
    pictures = [
        captioned(strips(moment), f"imagined against real, action chunk {time} of {last}", sentences)
        for time, moment in enumerate(moments)
    ]
    odd = [(0, side % 2) for side in pictures[0].shape[:2]]
    return np.stack([np.pad(picture, (*odd, (0, 0)), constant_values=255) for picture in pictures])


def _spread(num: int, windows: int) -> list[int]:
    """Windows in a row are of the same episode."""
    return np.unique(np.linspace(0, windows - 1, num).astype(int)).tolist()


def _imagined_frames(frames: Tensor, latents: Tensor, rolled: Tensor, window: int) -> Tensor:  # (T, 3, H, W)
    """The window's first frame, then the nearest frames of all other windows."""
    places = latents.float().flatten(2)  # (B, T, N * D)
    distances = torch.cdist(rolled[window].float().flatten(1), places.flatten(0, 1)).unflatten(1, frames.shape[:2])
    distances[:, window] = torch.inf
    nearest = distances.flatten(1).argmin(dim=1).to(frames.device)
    return torch.cat((frames[window, :1], frames.flatten(0, 1)[nearest]))
