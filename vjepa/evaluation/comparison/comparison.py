"""One encoder, one set of clips, one number of steps, several objectives: what each has learned, as one page.

Here runs that are there already are measured and written up; `vjepa compare` trains them.
"""

import datetime
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vjepa.data.atomic_file import new_file
from vjepa.data.clips.labelled_clips import LabelledClips, SplitName
from vjepa.evaluation.comparison.fork import ForkOutcome
from vjepa.evaluation.comparison.latent_decoder import frozen_tokens, train_latent_decoder
from vjepa.evaluation.probes.frozen_evaluation import CLASSES, Amount, FrozenEvaluation, describe
from vjepa.evaluation.probes.frozen_features import EncoderFeatures, FrozenFeatures
from vjepa.evaluation.probes.sweep import Sweep
from vjepa.evaluation.results import spread
from vjepa.evaluation.token_statistics import effective_rank, feature_std
from vjepa.interop.loading import read_checkpoint
from vjepa.models import VideoEncoder

NUM_CLIPS_FOR_HEALTH = 256  # of the test split
NUM_CLIPS_FOR_DECODERS = 1024  # of the training split
RANDOM = "random weights"


class Measured(NamedTuple):
    """What one encoder is worth."""

    accuracies: dict[str, float]  # by probe and amount of labels, 0 to 1
    rank: float  # effective rank of target tokens of whole test clips
    std: float  # of the same tokens
    processor_seconds: float | None = None  # per training step, where the encoder was trained


class TrainedRun(NamedTuple):
    recipe: str
    seed: int
    folder: Path  # runs/compare/{name}/version_{k}

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoints" / "last.ckpt"


class Decoded(NamedTuple):
    """Test clips, and what a decoder makes of their frozen tokens."""

    clips: Tensor  # (n, 3, T, H, W) uint8
    seen: Tensor  # (n, 3, T, H, W) uint8
    error: float  # mean squared error over more test clips, pixels from 0 to 1


class Subject(NamedTuple):
    """An encoder that is to be measured."""

    name: str
    encoder: VideoEncoder
    folder: Path  # where what was measured is kept


class Probing(NamedTuple):
    """How every encoder is measured."""

    clips: LabelledClips
    sweep: Sweep
    amounts: list[Amount]
    cache: Path
    accelerator: str

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.clips.fingerprint()} {self.sweep} {self.amounts}".encode()).hexdigest()[:16]

    def measure(self, subjects: Sequence[Subject]) -> dict[str, Measured]:
        """Probe frozen encoders on motion, and take the statistics of their tokens: all in one pass over the clips.

        What was measured before is read from its folder.
        """
        before = {subject.name: measured_before(subject.folder, self) for subject in subjects}
        found = {name: measured for name, measured in before.items() if measured is not None}
        new = [subject for subject in subjects if subject.name not in found]
        if not new:
            return found
        rows: list[FrozenFeatures] = [EncoderFeatures(subject.name, subject.encoder) for subject in new]
        results = FrozenEvaluation(
            self.clips, rows, self.sweep, self.amounts, [0], self.cache, accelerator=self.accelerator
        ).run()
        clips = first_clips(self.clips, "test", NUM_CLIPS_FOR_HEALTH)
        for subject, features in zip(new, rows, strict=True):
            tokens = features.to("cpu")(clips)
            of_subject = [result for result in results if result.features == subject.name]
            accuracies = {column(result.probe, result.amount): result.scores.top1 for result in of_subject}
            found[subject.name] = Measured(accuracies, effective_rank(tokens), feature_std(tokens))
            keep_measured(subject.folder, self, found[subject.name])
        return found


def column(probe: str, amount: Amount) -> str:
    return f"{probe}, {describe(CLASSES, amount)}"


def first_clips(clips: LabelledClips, split: SplitName, count: int) -> Tensor:  # (count, 3, T, H, W) uint8
    """The first clips of a split that can be read."""
    rows = np.arange(min(count, len(clips.manifests[split])))
    return torch.cat([batch.clips for batch in clips.evaluation_batches(split, rows)])[:count]


def complete_run(folder: Path, steps: int) -> Path | None:
    """The folder of a run of this name that came to its last step."""
    for checkpoint in sorted(folder.glob("*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)[::-1]:
        try:
            if int(read_checkpoint(checkpoint, lazily=True).get("global_step", 0)) == steps:
                return checkpoint.parent.parent
        except ValueError:  # not whole: it is trained anew
            continue
    return None


def measured_before(folder: Path, probing: Probing) -> Measured | None:
    """What was measured of a run in the same way."""
    try:
        kept = json.loads((folder / "measured.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return Measured(**kept["measured"]) if kept["probing"] == probing.fingerprint() else None


def keep_measured(folder: Path, probing: Probing, measured: Measured) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with new_file(folder / "measured.json") as temporary:
        temporary.write_text(json.dumps({"probing": probing.fingerprint(), "measured": measured._asdict()}, indent=1))


def decoded(
    encoders: Mapping[str, VideoEncoder], clips: LabelledClips, num_steps: int, num_clips: int = 2
) -> dict[str, Decoded]:
    """What a small decoder, trained on each encoder's frozen tokens, can tell of the first test clips."""
    held = first_clips(clips, "train", min(NUM_CLIPS_FOR_DECODERS, 32 * num_steps))
    shown = first_clips(clips, "test", max(num_clips, 64))
    generator = torch.Generator().manual_seed(0)
    draws = [torch.randint(len(held), (32,), generator=generator) for _ in range(num_steps)]
    results = {}
    for name, encoder in encoders.items():
        decoder = train_latent_decoder(encoder, (held[draw] for draw in draws), num_steps)
        seen = decoder.clips(frozen_tokens(encoder, shown), encoder.grid_of(shown))
        error = (seen.float() / 255 - shown.float() / 255).square().mean()
        results[name] = Decoded(shown[:num_clips], seen[:num_clips], float(error))
    return results


# --- the page


def table(rows: Mapping[str, Sequence[Measured]]) -> str:
    """A row for each recipe: mean and standard deviation over its seeds; the best mean of each probe is bold."""
    columns = list(next(iter(rows.values()))[0].accuracies)
    means = {
        name: [float(np.mean([each.accuracies[column] for each in measured])) for column in columns]
        for name, measured in rows.items()
    }
    best = [max(of_column) for of_column in zip(*means.values(), strict=True)]
    lines = [
        "| recipe | " + " | ".join(columns) + " | effective rank | std | processor seconds per step |",
        "|---" * (len(columns) + 4) + "|",
    ]
    for name, measured in rows.items():
        cells = [
            f"**{text}**" if mean == top else text
            for column, mean, top in zip(columns, means[name], best, strict=True)
            for text in [spread([100 * each.accuracies[column] for each in measured])]
        ]
        seconds = [each.processor_seconds for each in measured if each.processor_seconds is not None]
        cells += [spread([each.rank for each in measured]), spread([each.std for each in measured], 3)]
        cells.append(spread(seconds, 2) if seconds else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def winners(rows: Mapping[str, Sequence[Measured]]) -> list[str]:
    """Who is best by each probe, in words, and by how much it leads the next."""
    lines = []
    for name in next(iter(rows.values()))[0].accuracies:
        means = {recipe: 100 * np.mean([each.accuracies[name] for each in of]) for recipe, of in rows.items()}
        first, *others = sorted(means, key=lambda recipe: -means[recipe])
        ahead = means[first] - means[others[0]] if others else 0.0
        lead = f", {ahead:.1f} points ahead of {others[0]}" if ahead >= 0.05 else ", and others are as good"
        lines.append(f"* {name}: {first}{lead}.")
    return lines


def page(
    rows: Mapping[str, Sequence[Measured]],
    abouts: Mapping[str, str],  # of each recipe, the first line of its header
    command: str,
    steps: int,
    seeds: Sequence[int],
    width: int,
    chance: float,
    fork: ForkOutcome,
    decoding_errors: Mapping[str, float],
    pictures: Mapping[str, str],  # "fork", "collapse", "latents": as the page links them
) -> str:
    """The whole of the page, in Markdown."""
    sick, healthy = list(abouts)[-1], next(iter(abouts))
    errors, latent = fork.pixel_errors, fork.latent_errors
    return "\n".join(
        [
            "# Objectives compared",
            "",
            f"Written by `{command}` on {datetime.date.today()}, {os.cpu_count()} processor cores, torch "
            f"{torch.__version__}. Everything but the objective is the same: encoder, masks, clips, batches, "
            f"{steps} steps; seeds of training: {', '.join(map(str, seeds))}.",
            "",
            f"Accuracy in % of frozen features on motion, on test clips; chance is {100 * chance:.1f}. Mean ± standard "
            f"deviation over seeds of training; the best mean of each probe is bold. Effective rank (of {width}) and "
            "std are of target tokens of whole test clips. Processor seconds are of the training process, decoding "
            "apart.",
            "",
            table(rows),
            "",
            *winners(rows),
            "",
            "The recipes, in `configs/pretrain`:",
            "",
            *(f"* {name}: {about}" for name, about in abouts.items()),
            "",
            "## Why not pixels",
            "",
            "A ball runs to a fork and goes left or right by chance. Both models have the same encoder and see the "
            "same past. Means over held-out forks:",
            "",
            f"* Pixels: squared error {errors['left']:.4f} to the left future, {errors['right']:.4f} to the right one, "
            f"{errors['mean of both']:.4f} to the mean of both, a picture that never comes true.",
            f"* Embeddings: absolute error {latent['left']:.3f} to the left future, {latent['right']:.3f} to the right "
            f"one, {latent['another clip']:.3f} to that of another clip.",
            f"* The nearest clips to a predicted embedding go left in {fork.nearest_that_turn_left:.0%}, have the same "
            f"ground in {fork.nearest_with_same_ground:.0%} (by chance {fork.same_ground:.0%}) and the same ball in "
            f"{fork.nearest_with_same_ball:.0%} (by chance {fork.same_ball:.0%}).",
            "",
            f"![the fork: futures, predictions, nearest clips]({pictures['fork']})",
            "",
            "## How collapse looks",
            "",
            f"`{sick}` beside `{healthy}`, the first seed of each. A loss that falls says nothing where rank or std "
            "fall with it.",
            "",
            f"![effective rank, std and loss of both runs]({pictures['collapse']})",
            "",
            "## What the embeddings hold",
            "",
            "A small decoder, trained on frozen tokens of whole clips, shows what of the pixels can be told from them. "
            "Nothing learns from it. Mean squared error on test clips, pixels from 0 to 1: "
            + ", ".join(f"{name} {error:.4f}" for name, error in decoding_errors.items())
            + ".",
            "",
            f"![clips and what a decoder makes of their tokens]({pictures['latents']})",
            "",
        ]
    )
