"""Pictures of a comparison of objectives."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vjepa.data.synthetic.fork import PAST_FRAMES
from vjepa.evaluation.comparison.comparison import Decoded
from vjepa.evaluation.comparison.correlation import Correlations
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
    strips |= {f"hypothesis {number},\ndecoded": clip for number, clip in enumerate(example.hypotheses, start=1)}
    strips |= {
        f"nearest {number} to the\npredicted latents: {near.turn}\nat {near.distance:.3f}": near.clip
        for number, near in enumerate(example.nearest, start=1)
    }
    _draw_strips(strips, picture, f"past: the first {PAST_FRAMES} frames; then the predicted ones")


def draw_latents(decoders: Mapping[str, Decoded], picture: Path) -> None:
    """Clips beside each other, and below them their reconstruction from each encoder's tokens, a row for each."""
    strips = {"test clips": _beside(next(iter(decoders.values())).clips)}
    strips |= {name: _beside(decoder.reconstructed) for name, decoder in decoders.items()}
    _draw_strips(strips, picture, "decoded from frozen tokens")


def _beside(clips: Tensor) -> Tensor:  # (n, 3, T, H, W) -> (3, n * T + n - 1, H, W), with a white frame between
    white = torch.full_like(clips[0, :, :1], 255)
    return torch.cat([part for clip in clips for part in (clip, white)][:-1], dim=1)


def draw_cost(
    curves: Mapping[str, Sequence[Mapping[float, float]]],  # accuracy by processor seconds, by recipe and seed
    picture: Path,
    title: str,
) -> None:
    """A line for each recipe: means over seeds, and their spread as bars. All start at random weights."""
    plt = require_matplotlib()
    figure, axis = plt.subplots(figsize=(9, 5), constrained_layout=True)
    order = sorted(curves, key=lambda name: -float(np.mean([[*seed.values()][-1] for seed in curves[name]])))
    for number, name in enumerate(order):
        seeds = curves[name]
        seconds = np.mean([[*seed.keys()] for seed in seeds], axis=0)
        values = 100 * np.array([[*seed.values()] for seed in seeds])
        axis.errorbar(
            seconds,
            values.mean(axis=0),
            yerr=values.std(axis=0, ddof=1) if len(seeds) > 1 else None,
            label=name,
            color=plt.get_cmap("tab10")(number % 10),
            marker="os^Dv"[number % 5],
            linestyle="-" if number < 10 else "--",
            capsize=2,
            elinewidth=0.8,
        )
    axis.set(xlabel="processor seconds of training", ylabel="accuracy on validation clips, %", title=title)
    axis.set_ylim(0, None)
    axis.set_xlim(0, None)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.01, 0.5), title="best first", frameon=False)
    save_figure(figure, picture)


def draw_correlations(found: Correlations, picture: Path) -> None:
    """Both matrices beside each other, from -1 (blue) over 0 (white) to 1 (red)."""
    plt = require_matplotlib()
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.8), constrained_layout=True)
    titles = {"random weights": found.before, f"after {found.steps} steps": found.after}
    for axis, (title, matrix) in zip(axes, titles.items(), strict=True):
        image = axis.imshow(matrix.numpy(), cmap="RdBu_r", vmin=-1, vmax=1)
        diagonal = matrix.diagonal()
        others = matrix - torch.diag(diagonal)
        apart = float(others.square().sum() / (matrix.numel() - len(matrix))) ** 0.5
        axis.set_title(f"{title}\ndiagonal: mean {float(diagonal.mean()):.2f}, others: size {apart:.2f}", fontsize=10)
        axis.set_xlabel("features of the other half")
    axes[0].set_ylabel("features of one half of a clip's tokens")
    figure.colorbar(image, ax=axes, label="correlation over test clips", shrink=0.85)
    save_figure(figure, picture)


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
