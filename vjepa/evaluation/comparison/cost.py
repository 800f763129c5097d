"""Accuracy over processor time: checkpoints of a run, scored by nearest neighbours on validation clips."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from vjepa.data.atomic_file import write_json
from vjepa.data.clips.evaluation_clips import SplitName
from vjepa.data.clips.labelled_clips import LabelledClips
from vjepa.evaluation.comparison.training import TrainedRun
from vjepa.evaluation.probes.frozen_evaluation import Amount
from vjepa.evaluation.probes.frozen_features import EncoderFeatures
from vjepa.evaluation.probes.nearest_neighbours import neighbour_votes
from vjepa.evaluation.probes.scores import accuracy
from vjepa.interop.run_folder import read_run

NUM_NEIGHBOURS = 5  # fixed: nothing is chosen on the clips that are scored
NUM_VAL_CLIPS = 500
BATCH = 64
SCORES = "scores_over_training.json"


class Held(NamedTuple):
    """One clip of each of some files, in memory."""

    clips: UInt8[Tensor, "n 3 T H W"]
    labels: Int64[Tensor, " n"]


def scores_over_training(
    runs: Sequence[TrainedRun], clips: LabelledClips, amount: Amount, pooled_cells: int | None = None
) -> list[dict[int, float]]:
    """Accuracies on validation clips by step: of each run's encoder before training, and of its checkpoints.

    Neighbours are looked up among this amount of labelled clips. `pooled_cells`: as for `vjepa probe`.
    Stored in each run's folder.
    """
    settings = f"{clips.fingerprint()} {amount} {NUM_NEIGHBOURS} {NUM_VAL_CLIPS} {pooled_cells}"
    key = hashlib.sha256(settings.encode()).hexdigest()[:16]
    held: tuple[Held, Held] | None = None
    found = []
    for run in runs:
        scores = _stored(run.folder / SCORES, key)
        checkpoints = checkpoints_of(run)
        for step in {0, *checkpoints} - scores.keys():
            content = read_run(checkpoints.get(step, run.checkpoint))
            encoder = content.encoder() if step else content.untrained_encoder()
            held = held or (
                _held(clips, "train", clips.labelled_rows(amount)),
                _held(clips, "val", np.arange(min(NUM_VAL_CLIPS, len(clips.manifests["val"])))),
            )
            features = EncoderFeatures("", encoder, pooled_cells=pooled_cells, crop_size=clips.crop_size)
            scores[step] = _score(features, *held, len(clips.class_names))
        write_json(run.folder / SCORES, {"settings": key, "scores": scores})
        found.append(dict(sorted(scores.items())))
    return found


def checkpoints_of(run: TrainedRun) -> dict[int, Path]:
    """The last checkpoint and those that were kept, by step."""
    folder = run.checkpoint.parent
    kept = {int(file.stem.removeprefix("step_")): file for file in folder.glob("step_*.ckpt")}
    return dict(sorted({**kept, run.steps: run.checkpoint}.items()))


def _stored(file: Path, key: str) -> dict[int, float]:
    try:
        content = json.loads(file.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return {int(step): value for step, value in content["scores"].items()} if content["settings"] == key else {}


def _held(clips: LabelledClips, split: SplitName, rows: Int64[np.ndarray, " n"]) -> Held:
    pixels, labels = [], []
    for batch in clips.evaluation_batches(split, rows):
        first = slice(None, None, clips.cuts[split].clips_per_video)  # one clip of each file
        pixels.append(batch.clips[first])
        labels.append(batch.labels[first])
    return Held(torch.cat(pixels), torch.cat(labels))


def _score(features: EncoderFeatures, bank: Held, queries: Held, num_classes: int) -> float:
    known, asked = (_pooled(features, each.clips) for each in (bank, queries))
    return accuracy(neighbour_votes(known, bank.labels, asked, NUM_NEIGHBOURS, num_classes), queries.labels)


def _pooled(features: EncoderFeatures, clips: UInt8[Tensor, "n 3 T H W"]) -> Float[Tensor, "n D"]:
    return torch.cat([features.pool(features(part)) for part in clips.split(BATCH)])
