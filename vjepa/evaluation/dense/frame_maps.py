"""Feature maps of the single frames of a video: from windows of a video encoder, image models, and baselines.

The tokens of a tubelet belong to all of its frames. Windows slide over the whole video, by default by an odd number of
frames, so that each frame is the first one of some tubelets and the second one of others. The map of a frame is the
mean of all tokens that cover it; those of other frames are other means.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from vjepa.data.clips.batch import normalize_clips
from vjepa.evaluation.probes.image_features import ImageBackboneFeatures
from vjepa.models import VideoEncoder

CLIPS_AT_ONCE = 8
Maps = Float[Tensor, "T h w D"]
Frames = UInt8[Tensor, "T 3 H W"]


class MapSource(NamedTuple):
    """A row of the tables: what makes feature maps of a video's frames."""

    name: str
    maps: Callable[[Frames], Maps]


@dataclass(frozen=True)
class Windows:
    """Clips that a video is encoded in.

    Args:
        num_frames: of a clip; a shorter video is one clip or two, of as many whole tubelets as it has.
        frame_step: frames of the video from one frame of a clip to the next; each of the videos that are thinned out in
            this way is encoded by itself, so that every frame has a map.
        stride: frames of the thinned-out video from one clip to the next; the odd number up to half a clip if None.
        single_frames: encode each frame by itself, repeated over a tubelet, or as an image where the encoder has a
            tokenizer for images.
    """

    num_frames: int
    frame_step: int = 1
    stride: int | None = None
    single_frames: bool = False

    def __post_init__(self) -> None:
        for name in ("num_frames", "frame_step", "stride"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} ({value}) must be at least 1")

    def frame_ids(self, video_frames: int, tubelet_frames: int) -> Int64[Tensor, "W T"]:
        """The frames of each window. Raises ValueError where the video is shorter than a tubelet."""
        length = min(self.num_frames, video_frames // self.frame_step) // tubelet_frames * tubelet_frames
        if length == 0:
            raise ValueError(
                f"a video of {video_frames} frames, at every {self.frame_step}th one, or a window of "
                f"{self.num_frames} is shorter than a tubelet of {tubelet_frames} frames; single frames and images are "
                f"encoded with --single_frames=true"
            )
        stride = self.stride or max(1, (length // 2 - 1) // 2 * 2 + 1)
        windows = []
        for phase in range(self.frame_step):
            ids = torch.arange(phase, video_frames, self.frame_step)
            last = len(ids) - length
            windows += [ids[start : start + length] for start in sorted({*range(0, last, stride), last})]
        return torch.stack(windows)


@torch.no_grad()
def encoder_maps(
    encoder: VideoEncoder,
    windows: Windows,
    device: torch.device,
    levels: Sequence[int] | None,  # blocks whose tokens are concatenated; the last one's if None
    frames: Frames,
) -> Maps:
    """Maps by a video encoder. Raises ValueError where frames are no whole number of tubelets."""
    levels = levels or [len(encoder.blocks) - 1]
    if windows.single_frames:
        length = 1 if encoder.image_tokenizer else encoder.tubelet[0]
        frame_ids = torch.arange(len(frames))[:, None].expand(-1, length)
    else:
        frame_ids = windows.frame_ids(len(frames), encoder.tubelet[0])
    total, count = torch.zeros(0), torch.zeros(len(frames))
    for ids in frame_ids.split(CLIPS_AT_ONCE):
        clips = frames[ids].transpose(1, 2).to(device)  # (B, 3, T, H, W)
        grid = encoder.grid_of(clips)
        tokens = torch.cat(encoder.forward_levels(normalize_clips(clips), levels), dim=-1).float().cpu()
        over_time = tokens.unflatten(1, grid).repeat_interleave(ids.shape[1] // grid.frames, dim=1)  # (B, T, h, w, D)
        total = total if len(total) else torch.zeros(len(frames), *over_time.shape[2:])
        total.index_add_(0, ids.flatten(), over_time.flatten(0, 1))
        count.index_add_(0, ids.flatten(), torch.ones(ids.numel()))
    return total / count.view(-1, 1, 1, 1)


@torch.no_grad()
def image_model_maps(features: ImageBackboneFeatures, device: torch.device, frames: Frames) -> Maps:
    """Maps by an image model of timm, frame by frame."""
    return torch.cat([features.to(device).maps(some.to(device)).cpu() for some in frames.split(4 * CLIPS_AT_ONCE)])


def colour_and_position(token: tuple[int, int], frames: Frames) -> Maps:
    """Mean colour and place of each token of this height and width in pixels, all of one variance in a video."""
    colours = F.avg_pool2d(frames.float(), token).movedim(1, -1)  # (T, h, w, 3)
    rows, columns = (torch.linspace(-1, 1, side) for side in colours.shape[1:3])
    places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).expand(len(frames), -1, -1, -1)
    both = torch.cat((colours, places), dim=-1)
    scaled = (both - both.mean((0, 1, 2))) / both.std((0, 1, 2)).clamp_min(1e-6)
    # With a constant beside them the nearest ones by cosine are about those at the least distance.
    return F.pad(scaled, (0, 1), value=2.0)


def identical_features(token: tuple[int, int], frames: Frames) -> Maps:
    """The same vector everywhere: what a protocol makes of features that tell nothing."""
    height, width = (side // step for side, step in zip(frames.shape[-2:], token, strict=True))
    return torch.ones(len(frames), height, width, 8)


def upsampled(maps: Float[Tensor, "T h w C"], size: tuple[int, int]) -> Float[Tensor, "T C H W"]:
    """Maps at the size of frames, bilinear."""
    return F.interpolate(maps.movedim(-1, 1), size, mode="bilinear")
