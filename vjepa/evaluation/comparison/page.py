"""The page of a comparison, in Markdown."""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from vjepa.evaluation.comparison.comparison import Measured
from vjepa.evaluation.comparison.fork import ForkOutcome, Nearest
from vjepa.evaluation.results import spread
from vjepa.processors import count_processors

Rows = Mapping[str, Sequence[Measured]]  # by recipe, one for each seed


class Comparison(NamedTuple):
    """Settings and results of a comparison."""

    command: str
    steps: int
    seeds: Sequence[int]
    rows: Rows  # of all recipes and of random weights
    abouts: Mapping[str, str]  # by recipe, the first line of its header
    width: int  # of tokens
    chance: float
    fork: ForkOutcome
    decoding_errors: Mapping[str, float]  # by recipe
    same_encoder: bool  # in all recipes
    scored_by: str  # of the curves over processor time
    correlated: str | None  # the recipe of the cross-correlation matrices


def page(found: Comparison, pictures: Path) -> str:
    """The whole page.

    Args:
        found: settings and results.
        pictures: folder of the pictures, relative to the page.
    """
    collapsing, healthy = list(found.abouts)[-1], next(iter(found.abouts))
    pixels, latents, fork = found.fork.pixel_errors, found.fork.latent_errors, found.fork
    abouts = "\n".join(f"* {name}: {about}" for name, about in found.abouts.items())
    decoding = ", ".join(f"{name} {error:.4f}" for name, error in found.decoding_errors.items())
    return f"""# Objectives compared

Written by `{found.command}` on {datetime.date.today()}, {count_processors()} processors, torch {torch.__version__}. \
{same(found)} seeds of training: {", ".join(map(str, found.seeds))}.

Accuracy in % of frozen features on motion, on test clips; chance is {100 * found.chance:.1f}. \
Mean ± standard deviation over seeds of training; the best mean of each probe is bold. \
Effective rank (of {found.width}) and std are of target tokens of whole test clips. \
Processor seconds are of the training process, without decoding.

{table(found.rows)}

{chr(10).join(winners(found.rows))}

The recipes, in `configs/pretrain`:

{abouts}

## Accuracy over processor time

Of checkpoints along each run, beginning with random weights: {found.scored_by} of frozen features, on validation \
clips; with several seeds their mean and standard deviation. Processor seconds are of the training process.

![accuracy by processor seconds, a line for each recipe]({pictures}/compare_cost.png)

## Why not pixels

A ball runs to a fork and goes left or right by chance. All models have the same encoder and see the same past. \
Means over held-out forks:

* Pixels: squared error {pixels["left"]:.4f} to the left future, {pixels["right"]:.4f} to the right one, \
{pixels["mean of both"]:.4f} to the mean of both, a picture that never comes true. Over the hidden tubelet \
frames the error to a true future is {over_frames(fork)} times that to the mean.
* Embeddings: absolute error {latents["left"]:.3f} to the left future, {latents["right"]:.3f} to the right one, \
{latents["another clip"]:.3f} to that of another clip. \
{nearest_words(fork.nearest, "the predicted embedding", fork.chance)}
* Two hypotheses: absolute error of the nearer one {fork.least_errors["left"]:.3f} to the left future, \
{fork.least_errors["right"]:.3f} to the right one; one is nearer to each future at {fork.parted:.0%} of the forks. \
{" ".join(nearest_words(near, f"hypothesis {k}", fork.chance) for k, near in enumerate(fork.nearest_of_hypotheses, 1))}

![the fork: futures, predictions, nearest clips]({pictures}/compare_fork.png)

## How collapse looks

`{collapsing}` beside `{healthy}`, the first seed of each. A falling loss means nothing where rank or std fall with it.

![effective rank, std and loss of both runs]({pictures}/compare_collapse.png)

{correlation_section(found, pictures)}## What the embeddings hold

A small decoder, trained on frozen tokens of whole clips, shows what of the pixels they contain. \
Nothing learns from it. Mean squared error on test clips, pixels from 0 to 1: {decoding}.

![clips and their reconstruction from tokens]({pictures}/compare_latents.png)
"""


def over_frames(fork: ForkOutcome) -> str:
    """By hidden tubelet frame: the pixel error to the nearer true future over that to the mean of both."""
    errors = fork.pixel_errors_by_frame
    by_frame = zip(errors["left"], errors["right"], errors["mean of both"], strict=True)
    return ", ".join(f"{min(left, right) / mean:.1f}" for left, right, mean in by_frame)


def nearest_words(near: Nearest, of_what: str, chance: Nearest) -> str:
    return (
        f"The clips nearest to {of_what} go left in {near.turn_left:.0%}, have the same ground in "
        f"{near.same_ground:.0%} (by chance {chance.same_ground:.0%}) and the same ball in {near.same_ball:.0%} "
        f"(by chance {chance.same_ball:.0%})."
    )


def same(found: Comparison) -> str:
    """What the runs share."""
    if found.same_encoder:
        return f"Everything but the objective is the same: encoder, clips, batches, {found.steps} steps;"
    return (
        f"All runs have the same clips and {found.steps} steps, but not the same encoder: each kind has its own row of "
        f"random weights;"
    )


def correlation_section(found: Comparison, pictures: Path) -> str:
    if found.correlated is None:
        return ""
    return f"""## What Barlow Twins does

Of `{found.correlated}`, the first seed: the correlation over test clips of each projected feature of one half of a \
clip's tokens with each of the other half. The objective asks for 1 on the diagonal (both halves say the same) and 0 \
elsewhere (no feature says what another says).

![cross-correlation matrices before and after training]({pictures}/compare_barlow_twins.png)

"""


def table(rows: Rows) -> str:
    """A row for each recipe: mean and standard deviation over its seeds; the best mean of each probe is bold."""
    means = mean_accuracies(rows)
    lines = [
        f"| recipe | {' | '.join(means)} | effective rank | std | processor seconds per step |",
        "|---" * (len(means) + 4) + "|",
    ]
    for name, measured in rows.items():
        cells = []
        for column, by_recipe in means.items():
            text = spread([100 * each.accuracies[column] for each in measured])
            cells.append(f"**{text}**" if by_recipe[name] == max(by_recipe.values()) else text)
        seconds = [each.processor_seconds for each in measured if each.processor_seconds is not None]
        cells += [spread([each.rank for each in measured]), spread([each.std for each in measured], 3)]
        cells.append(spread(seconds, 2) if seconds else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def winners(rows: Rows) -> list[str]:
    """The best recipe by each probe, and its lead over the next."""
    lines = []
    for column, means in mean_accuracies(rows).items():
        first, *others = sorted(means, key=lambda recipe: -means[recipe])
        ahead = 100 * (means[first] - means[others[0]]) if others else 0.0
        lead = f", {ahead:.1f} points ahead of {others[0]}" if ahead >= 0.05 else ", and others are as good"
        lines.append(f"* {column}: {first}{lead}.")
    return lines


def mean_accuracies(rows: Rows) -> dict[str, dict[str, float]]:
    """Means over seeds, by probe and recipe."""
    columns = next(iter(rows.values()))[0].accuracies
    return {
        column: {name: float(np.mean([each.accuracies[column] for each in row])) for name, row in rows.items()}
        for column in columns
    }
