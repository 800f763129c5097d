"""What a model will see: clips with their masks and views, windows of episodes, as a sheet or a film."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Int64, UInt8
from torch import Tensor

from vjepa.data.clips.batch import PIXEL_MEAN, PIXEL_STD, ClipBatch
from vjepa.data.clips.image_views import ImageViews
from vjepa.data.episodes.batch import EpisodeBatch
from vjepa.evaluation.captions import text_bar
from vjepa.grid import TokenGrid

Frames = UInt8[np.ndarray, "T H W 3"]

GAP = 4  # white pixels between frames and between panels
LEAST_HEIGHT, MOST_HEIGHT = 96, 160  # pixels of a frame on the page
MOST_FRAMES = 8  # of a strip
MOST_VIEWS = 2  # of each kind
GREY = 128


class Panel(NamedTuple):
    """One way of seeing a sample."""

    title: str
    frames: Frames


class Preview(NamedTuple):
    """A sample: where it comes from, and how it is seen."""

    heading: str
    panels: list[Panel]


def previews_of_clips(
    batch: ClipBatch,
    names: Sequence[str],  # of the clips' files
    tubelet: tuple[int, int, int],
    has_images: bool = False,  # clips of one frame are images, with tokens of one frame
) -> list[Preview]:
    """Each clip as it is augmented, with each mask, and its views."""
    num_frames, height, width = batch.clips.shape[2:]
    if num_frames == 1 and has_images:
        tubelet = (1, *tubelet[1:])
    grid = TokenGrid.of_clip((num_frames, height, width), tubelet)
    previews = []
    for row, name in enumerate(names):
        clip = _pixels(batch.clips[row])
        span = "image" if num_frames == 1 else f"{num_frames} frames over {float(batch.seconds[row]):.2f} s"
        panels = [Panel(f"clip, augmented: {span}, {width} x {height} pixels", clip)]
        for number, mask in enumerate(batch.masks):
            context, target = (ids[row].numpy() for ids in mask)
            counts = f"{len(context)} tokens seen, {len(target)} to predict, of {grid.num_tokens}"
            hidden = "grey is hidden, dark is neither seen nor predicted"
            panels.append(Panel(f"mask {number}: {counts} ({hidden})", masked(clip, grid, context, target)))
        for kind, views in enumerate(batch.views):
            named = f"kind {kind + 1}, " if len(batch.views) > 1 else ""
            panels += _views(clip, views.clips, views.token_ids, row, len(batch.clips), named, grid, tubelet)
        label = f", label {int(batch.labels[row])}" if int(batch.labels[row]) >= 0 else ""
        previews.append(Preview(f"{name}{label}", panels))
    return previews


def previews_of_image_views(batch: ClipBatch, names: Sequence[str], views: ImageViews) -> list[Preview]:
    """Each clip, and the crops of its frames that an image model compares."""
    drawn = views(batch)
    previews = []
    for row, name in enumerate(names):
        panels = [Panel("clip, augmented", _pixels(batch.clips[row]))]
        for title, crops in (("large views, each of a frame of its own", drawn.large), ("small views", drawn.small)):
            if len(crops):
                mean, std = (crops.new_tensor(each).view(3, 1, 1) for each in (PIXEL_MEAN, PIXEL_STD))
                frames = ((crops[:, row, :, 0] * std + mean) * 255).round().clamp(0, 255).byte()  # (V, 3, h, w)
                panels.append(Panel(f"{len(crops)} {title}", frames.permute(0, 2, 3, 1).numpy()))
        previews.append(Preview(name, panels))
    return previews


def previews_of_windows(batch: EpisodeBatch, num_windows: int) -> list[Preview]:
    """Each window's frames, and its actions, summed over a chunk, in the heading."""
    previews = []
    for row in range(min(num_windows, len(batch.frames))):
        frames = batch.frames[row].permute(0, 2, 3, 1).numpy()
        chunks = batch.actions[row]  # (K, frame_step * A)
        title = f"{len(frames)} frames, {len(chunks)} chunks of {chunks.shape[1]} numbers between them"
        first = ", ".join(f"{value:.2g}" for value in chunks[0].tolist()[:8])
        where = f"episode {int(batch.episodes[row])}, from step {int(batch.starts[row])}"
        previews.append(
            Preview(f"{where}; first chunk of actions: {first}", [Panel(title, np.ascontiguousarray(frames))])
        )
    return previews


def masked(
    frames: Frames, grid: TokenGrid, visible: Int64[np.ndarray, " Nc"], hidden: Int64[np.ndarray, " Nt"] | None = None
) -> Frames:
    """Frames with hidden tokens in grey, and darker where a token is of neither set; all others hidden if None."""
    kinds = np.full(grid.num_tokens, 2 if hidden is None else 0, np.uint8)
    kinds[visible] = 1
    if hidden is not None:
        kinds[hidden] = 2
    kinds = kinds.reshape(grid)
    for axis, size in enumerate(frames.shape[:3]):
        kinds = kinds.repeat(size // grid[axis], axis)
    kinds = kinds[..., None]
    return np.where(kinds == 1, frames, np.where(kinds == 2, np.uint8(GREY), frames // 4))


def sheet(previews: Sequence[Preview]) -> UInt8[np.ndarray, "rows columns 3"]:
    """A picture: under each heading a strip of frames for each panel."""
    strips: list[tuple[str, UInt8[np.ndarray, "rows columns 3"] | None]] = []  # with their titles; None: a heading
    for preview in previews:
        strips.append((preview.heading, None))
        for panel in preview.panels:
            chosen = np.linspace(0, len(panel.frames) - 1, min(MOST_FRAMES, len(panel.frames))).round().astype(int)
            drawn = [_fitted(frame) for frame in panel.frames[chosen]]
            strips.append((panel.title, np.concatenate([_padded(frame) for frame in drawn], axis=1)))
    width = max(480, *(strip.shape[1] for _, strip in strips if strip is not None))
    parts = []
    for title, strip in strips:
        parts.append(text_bar(title, width, grey=strip is not None))
        if strip is not None:
            parts.append(np.pad(strip, ((0, GAP), (0, width - strip.shape[1]), (0, 0)), constant_values=255))
    return np.concatenate(parts)


def film(previews: Sequence[Preview]) -> Frames:
    """Panels side by side, samples below each other; shorter panels stay at their last frame."""
    length = max(len(panel.frames) for preview in previews for panel in preview.panels)
    rows = []
    for preview in previews:
        columns = []
        for panel in preview.panels:
            frames = np.stack([_padded(_fitted(frame)) for frame in panel.frames])
            held = frames[np.minimum(np.arange(length), len(frames) - 1)]
            bar = text_bar(panel.title.partition(" (")[0].partition(":")[0], held.shape[2], grey=True)
            columns.append(np.concatenate((np.broadcast_to(bar, (length, *bar.shape)), held), axis=1))
        height = max(column.shape[1] for column in columns)
        row = np.concatenate([_white(column, height, column.shape[2]) for column in columns], axis=2)
        bar = text_bar(preview.heading, row.shape[2])
        rows.append(np.concatenate((np.broadcast_to(bar, (length, *bar.shape)), row), axis=1))
    width = max(row.shape[2] for row in rows)
    whole = np.concatenate([_white(row, row.shape[1], width) for row in rows], axis=1)
    return _white(whole, whole.shape[1] + whole.shape[1] % 2, whole.shape[2] + whole.shape[2] % 2)  # even, for H.264


def _views(
    clip: Frames,
    crops: Tensor | None,
    token_ids: Tensor | None,
    row: int,
    num_clips: int,
    kind: str,
    grid: TokenGrid,
    tubelet: tuple[int, int, int],
) -> list[Panel]:
    """The first views of a kind."""
    given = crops if crops is not None else token_ids
    assert given is not None
    number = len(given) // num_clips
    panels = []
    for view in range(min(MOST_VIEWS, number)):
        frames, its_grid = clip, grid
        if crops is not None:
            frames = _pixels(crops[row * number + view])
            its_grid = TokenGrid.of_clip(frames.shape[:3], tubelet)
        kept = ""
        if token_ids is not None:
            ids = token_ids[row * number + view].numpy()
            frames, kept = masked(frames, its_grid, ids), f": keeps {len(ids)} of {its_grid.num_tokens} tokens"
        size = f", {frames.shape[2]} x {frames.shape[1]} pixels" if crops is not None else ""
        panels.append(Panel(f"{kind}view {view + 1} of {number}{kept}{size}", frames))
    return panels


def _pixels(clip: Tensor) -> Frames:  # of (3, T, H, W)
    return np.ascontiguousarray(clip.permute(1, 2, 3, 0).numpy())


def _fitted(frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Enlarged by a whole factor or made smaller, so that it can be seen and fits."""
    height, width = frame.shape[:2]
    if height < LEAST_HEIGHT:
        times = -(-LEAST_HEIGHT // height)
        return frame.repeat(times, axis=0).repeat(times, axis=1)
    if height > MOST_HEIGHT:
        size = (round(width * MOST_HEIGHT / height), MOST_HEIGHT)
        return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return frame


def _padded(frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H w 3"]:
    return np.pad(frame, ((0, 0), (0, GAP), (0, 0)), constant_values=255)


def _white(frames: Frames, height: int, width: int) -> UInt8[np.ndarray, "T h w 3"]:
    room = ((0, 0), (0, height - frames.shape[1]), (0, width - frames.shape[2]), (0, 0))
    return np.pad(frames, room, constant_values=255)
