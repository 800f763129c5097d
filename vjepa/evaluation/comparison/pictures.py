"""Pictures of a comparison of objectives."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from vjepa.data.synthetic.fork import PAST_FRAMES
from vjepa.evaluation.comparison.comparison import Decoded
from vjepa.evaluation.comparison.fork import ForkOutcome
from vjepa.evaluation.figures import require_matplotlib, save_figure


def draw_fork(outcome: ForkOutcome, picture: Path) -> None:
    """A strip of frames for each future, each prediction and each of the nearest clips."""
    example = outcome.example
    pixels, latents = example.pixel_errors, example.latent_errors
    strips = {
        f"true: {turn}\npixel error {pixels[turn]:.3f}\nlatent error {latents[turn]:.3f}": future
        for turn, future in example.futures.items()
    }
    strips[f"predicted by pixels\nto mean of both {pixels['mean of both']:.3f}"] = example.pixel_prediction
    strips[f"predicted latents,\ndecoded\nto another clip {latents['another clip']:.3f}"] = example.latent_prediction
    strips |= {
        f"nearest {number} to the\npredicted latents: {near.turn}\nat {near.distance:.3f}": near.clip
        for number, near in enumerate(example.nearest, start=1)
    }
    _draw_strips(strips, picture, f"past: the first {PAST_FRAMES} frames; then the predicted ones")


def draw_latents(decoders: Mapping[str, Decoded], picture: Path) -> None:
    """Every clip, and below it the reconstruction from each encoder's tokens."""
    strips = {}
    for number, clip in enumerate(next(iter(decoders.values())).clips):
        strips[f"test clip {number + 1}"] = clip
        strips |= {f"{name}\n(clip {number + 1})": decoder.reconstructed[number] for name, decoder in decoders.items()}
    _draw_strips(strips, picture, "decoded from frozen tokens")


def draw_collapse(curves: Mapping[str, Mapping[str, Mapping[int, float]]], picture: Path) -> None:
    """A panel for each measure, a line for each run. `curves[measure][run]` has values by step."""
    plt = require_matplotlib()
    figure, axes = plt.subplots(1, len(curves), figsize=(4 * len(curves), 3.2), constrained_layout=True, squeeze=False)
    for axis, (measure, runs) in zip(axes.flat, curves.items(), strict=True):
        for run, by_step in runs.items():
            axis.plot([*by_step], [*by_step.values()], label=run, marker="." if len(by_step) < 3 else None)
        axis.set(title=measure, xlabel="step", ylim=(0, None))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    save_figure(figure, picture)


def _draw_strips(strips: Mapping[str, Tensor], picture: Path, title: str) -> None:
    plt = require_matplotlib()
    num_frames = next(iter(strips.values())).shape[1]
    figure, axes = plt.subplots(
        len(strips), 1, figsize=(num_frames + 2.2, len(strips)), constrained_layout=True, squeeze=False
    )
    for axis, (label, clip) in zip(axes.flat, strips.items(), strict=True):
        frames = clip.permute(1, 2, 3, 0).numpy()  # (T, H, W, 3)
        gap = np.full((frames.shape[1], 2, 3), 255, np.uint8)
        axis.imshow(np.concatenate([part for frame in frames for part in (frame, gap)], axis=1))
        axis.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    figure.suptitle(title, fontsize=9)
    save_figure(figure, picture)
