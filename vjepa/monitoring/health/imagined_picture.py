"""What a world model imagines, as frames: the real frame of another window whose latent is nearest."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vjepa.evaluation.captions import Picture, captioned
from vjepa.monitoring.token_pictures import strips


@torch.no_grad()
def imagined_picture(
    frames: UInt8[Tensor, "B T 3 H W"],
    latents: Float[Tensor, "B T N D"],  # of the frames
    rolled: Float[Tensor, "B T-1 N D"],  # imagined from the first frame, by the window's actions
    num_windows: int,
) -> Picture:
    """For each of the first windows its frames, and below them what is imagined from the first one."""
    pixels = frames.detach().cpu().permute(0, 1, 3, 4, 2).float() / 255  # (B, T, H, W, 3)
    places = latents.float().flatten(2)  # (B, T, N * D)
    rows = []
    for window in range(min(num_windows, len(frames))):
        distances = torch.cdist(rolled[window].float().flatten(1), places.flatten(0, 1)).unflatten(1, frames.shape[:2])
        distances[:, window] = torch.inf
        nearest = distances.flatten(1).argmin(dim=1).cpu()
        imagined = pixels.flatten(0, 1)[nearest]
        rows += [pixels[window], torch.cat((pixels[window, :1], imagined))]
    sentences = [
        "Upper rows: real frames. Lower rows: the first frame, then what is imagined from it and the actions, as the "
        "nearest real frame of another window."
    ]
    return captioned(strips(torch.stack(rows)), "imagined against real", sentences)
