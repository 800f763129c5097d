"""Objectives compared: measurements of frozen encoders that differ only in the objective they were trained with."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from vjepa.data.atomic_file import write_json
from vjepa.data.clips.evaluation_clips import SplitName
from vjepa.data.clips.labelled_clips import LabelledClips
from vjepa.evaluation.comparison.latent_decoder import frozen_tokens, train_latent_decoder
from vjepa.evaluation.comparison.training import recipe_digest
from vjepa.evaluation.probes.frozen_evaluation import CLASSES, Amount, FrozenEvaluation, describe
from vjepa.evaluation.probes.frozen_features import EncoderFeatures, FrozenFeatures
from vjepa.evaluation.probes.sweep import Sweep
from vjepa.evaluation.token_statistics import effective_rank, feature_std
from vjepa.interop.networks import seeded
from vjepa.interop.run_folder import read_settings
from vjepa.models import VideoEncoder

NUM_CLIPS_FOR_HEALTH = 256  # of the test split
NUM_CLIPS_FOR_DECODERS = 1024  # of the training split
RANDOM = "random weights"


class Measured(NamedTuple):
    """Measurements of one encoder."""

    accuracies: dict[str, float]  # by probe and amount of labels, 0 to 1
    rank: float  # effective rank of target tokens of whole test clips
    std: float  # of the same tokens
    processor_seconds: float | None = None  # per training step; None for an untrained encoder
    val_accuracies: dict[str, float] = {}  # noqa: RUF012 (read only); of the same probes, which were chosen by them


class Subject(NamedTuple):
    """An encoder to measure."""

    name: str
    encoder: VideoEncoder
    folder: Path  # where its measurements are stored


def untrained(name: str, recipe: Path, seed: int, runs: Path) -> Subject:
    """A recipe's encoder before training."""
    with seeded(seed):
        encoder = VideoEncoder(**read_settings(recipe).encoder)
    return Subject(name, encoder, runs / f"{recipe.stem}_untrained_seed_{seed}_{recipe_digest(recipe)}")


class Probing(NamedTuple):
    """Settings of the measurements."""

    clips: LabelledClips
    sweep: Sweep
    amounts: list[Amount]
    cache: Path
    accelerator: str
    pooled_cells: int | None = None  # as for `vjepa probe`
    seed: int = 0  # of the labelled clips and of the heads
    file: str = "measured.json"  # in a subject's folder

    def fingerprint(self) -> str:
        seed = f" seed {self.seed}" if self.seed else ""
        cells = f" {self.pooled_cells} cells" if self.pooled_cells else ""
        settings = f"{self.clips.fingerprint()} {self.sweep} {self.amounts}{cells}{seed}"
        return hashlib.sha256(settings.encode()).hexdigest()[:16]

    def measure(self, subjects: Sequence[Subject]) -> dict[str, Measured]:
        """Probe frozen encoders and take the statistics of their tokens, all in one pass over the clips.

        Measurements with the same settings are read from the subject's folder.
        """
        stored = {subject.name: self._stored(subject) for subject in subjects}
        found = {name: measured for name, measured in stored.items() if measured is not None}
        new = [subject for subject in subjects if subject.name not in found]
        if not new:
            return found
        rows: list[FrozenFeatures] = [
            EncoderFeatures(each.name, each.encoder, None, self.pooled_cells, self.clips.crop_size) for each in new
        ]
        results = FrozenEvaluation(
            self.clips, rows, self.sweep, self.amounts, [self.seed], self.cache, accelerator=self.accelerator
        ).run()
        clips = first_clips(self.clips, "test", NUM_CLIPS_FOR_HEALTH)
        for subject, features in zip(new, rows, strict=True):
            tokens = features.to("cpu")(clips)
            of_subject = {
                f"{result.probe}, {describe(CLASSES, result.amount)}": result
                for result in results
                if result.features == subject.name
            }
            measured = Measured(
                {name: result.scores.top1 for name, result in of_subject.items()},
                effective_rank(tokens),
                feature_std(tokens),
                val_accuracies={name: result.val_accuracy for name, result in of_subject.items()},
            )
            content = {"probing": self.fingerprint(), "measured": measured._asdict()}
            write_json(subject.folder / self.file, content)
            found[subject.name] = measured
        return found

    def _stored(self, subject: Subject) -> Measured | None:
        try:
            content = json.loads((subject.folder / self.file).read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return Measured(**content["measured"]) if content["probing"] == self.fingerprint() else None


class Decoded(NamedTuple):
    """Test clips, and their reconstruction from frozen tokens."""

    clips: UInt8[Tensor, "n 3 T H W"]
    reconstructed: UInt8[Tensor, "n 3 T H W"]
    error: float  # mean squared error over more test clips, pixels from 0 to 1


def decoded(
    encoders: Mapping[str, VideoEncoder], clips: LabelledClips, num_steps: int, num_clips: int = 2
) -> dict[str, Decoded]:
    """The first test clips as a small decoder reconstructs them, one trained on each encoder's frozen tokens."""
    training = first_clips(clips, "train", min(NUM_CLIPS_FOR_DECODERS, 32 * num_steps))
    shown = first_clips(clips, "test", max(num_clips, 64))
    generator = torch.Generator().manual_seed(0)
    draws = [torch.randint(len(training), (32,), generator=generator) for _ in range(num_steps)]
    results = {}
    for name, encoder in encoders.items():
        decoder = train_latent_decoder(encoder, (training[draw] for draw in draws), num_steps)
        reconstructed = decoder.clips(frozen_tokens(encoder, shown), encoder.grid_of(shown))
        error = (reconstructed.float() / 255 - shown.float() / 255).square().mean()
        results[name] = Decoded(shown[:num_clips], reconstructed[:num_clips], float(error))
    return results


def first_clips(clips: LabelledClips, split: SplitName, count: int) -> UInt8[Tensor, "n 3 T H W"]:
    """The first readable clips of a split, at most `count`."""
    rows = np.arange(min(count, len(clips.manifests[split])))
    return torch.cat([batch.clips for batch in clips.evaluation_batches(split, rows)])[:count]
