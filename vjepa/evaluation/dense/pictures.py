"""Pictures of dense evaluation: a sheet of test videos, and an mp4 of each, with features as colours and masks."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Int32, UInt8
from PIL import Image

from vjepa.data.atomic_file import new_file
from vjepa.data.video.encoding import encode_video
from vjepa.evaluation.dense.dense_evaluation import Pictured
from vjepa.evaluation.dense.frame_maps import Maps, upsampled
from vjepa.evaluation.principal_axes import principal_axes

Pixels = UInt8[np.ndarray, "T H W 3"]
FRAMES_PER_SECOND = 12
GAP, TEXT_HEIGHT, LEAST_HEIGHT = 4, 18, 128  # pixels
COLOURS = np.array([(230, 60, 50), (60, 140, 240), (70, 200, 90), (240, 180, 40), (170, 90, 220), (40, 200, 210)])


def write_pictures(pictured: Sequence[Pictured], folder: Path) -> list[Path]:
    """`sheet.png`, a row for each video at two thirds of its length, and `{number}_{name}.mp4` of those that move."""
    strips = [_strip(each) for each in pictured]
    folder.mkdir(parents=True, exist_ok=True)
    rows = [strip[2 * len(strip) // 3] for strip in strips]
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, GAP), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    sheet = folder / "sheet.png"
    with new_file(sheet) as temporary:
        Image.fromarray(np.concatenate(padded)).save(temporary, format="png")
    written = [sheet]
    for number, (each, strip) in enumerate(zip(pictured, strips, strict=True)):
        if len(strip) > 1:
            written.append(folder / f"{number}_{Path(each.video.name).stem}.mp4")
            even = np.pad(strip, ((0, 0), (0, strip.shape[1] % 2), (0, strip.shape[2] % 2), (0, 0)), mode="edge")
            with new_file(written[-1]) as temporary:
                encode_video(temporary, even, FRAMES_PER_SECOND)
    return written


def feature_colours(maps: Maps, size: tuple[int, int]) -> Pixels:
    """Coordinates on a video's first three principal axes as red, green and blue; six deviations fill the range."""
    coordinates = (maps - maps.mean((0, 1, 2))) @ principal_axes(maps)
    colours = 0.5 + coordinates / (6 * coordinates.std((0, 1, 2)).clamp_min(1e-6))
    return (upsampled(colours.clamp(0, 1), size).movedim(1, -1) * 255).round().to(torch.uint8).numpy()


def overlaid(frames: Pixels, masks: Int32[np.ndarray, "T H W"]) -> Pixels:
    """Frames with each object in a colour of its own over greyed ground."""
    colours = COLOURS[(masks - 1) % len(COLOURS)]
    ground = frames.mean(axis=-1, keepdims=True) * 0.6
    return np.where(masks[..., None] > 0, 0.4 * frames + 0.6 * colours, ground).astype(np.uint8)


def _strip(pictured: Pictured) -> Pixels:
    """A video's frames, features and masks side by side, each with its title."""
    height, width = pictured.video.frames.shape[-2:]
    times = max(1, -(-LEAST_HEIGHT // height))
    size = (height * times, width * times)
    frames = pictured.video.frames.numpy().transpose(0, 2, 3, 1).repeat(times, 1).repeat(times, 2)
    parts = {"video": frames, "features": feature_colours(pictured.maps, size)}
    for title, masks in pictured.masks.items():
        fitted = [cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST) for mask in masks]
        parts[title] = overlaid(frames, np.stack(fitted))
    titled = [_titled(part, title) for title, part in parts.items()]
    return np.concatenate([np.pad(part, ((0, 0), (0, 0), (0, GAP), (0, 0)), constant_values=255) for part in titled], 2)


def _titled(frames: Pixels, title: str) -> UInt8[np.ndarray, "T rows W 3"]:
    bar = np.full((TEXT_HEIGHT, frames.shape[2], 3), 255, np.uint8)
    cv2.putText(bar, title, (2, TEXT_HEIGHT - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate((np.broadcast_to(bar, (len(frames), *bar.shape)), frames), axis=1)
