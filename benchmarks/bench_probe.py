"""A sweep of 20 attentive heads on cached features against the same sweep that encodes anew in each epoch.

    python benchmarks/bench_probe.py [--clips 600] [--epochs 20] [--rounds 1]

Both train the same heads (of one block; 5 learning rates x 4 weight decays, as released) on the same
batches of the embedded dataset, in the same order, with an untrained encoder of the default recipe's size: what it has
learned costs nothing. The one decodes and encodes every clip once, the other in every epoch, as the released evaluation
does. Time is processor time of this process and its workers. Accuracy is the best head's on the validation clips.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from vjepa.data.clips.labelled_clips import LabelledClips
from vjepa.data.randomness import Purpose, generator_for
from vjepa.evaluation.probes.feature_batches import CachedBatches, arranged
from vjepa.evaluation.probes.feature_cache import FeatureCache
from vjepa.evaluation.probes.frozen_features import EncoderFeatures, FrozenFeatures
from vjepa.evaluation.probes.probe import FeatureBatch, Probe, train_probe
from vjepa.evaluation.probes.sweep import Sweep
from vjepa.models import VideoEncoder

RATES, DECAYS = (5e-3, 3e-3, 1e-3, 3e-4, 1e-4), (0.01, 0.1, 0.4, 0.8)


class EncodedEachEpoch:
    """The batches that `CachedBatches` gives, every one of them decoded and encoded when it is asked for."""

    def __init__(self, features: FrozenFeatures, clips: LabelledClips, rows: np.ndarray, epochs: int):
        self.features = features
        self.clips = clips
        self.rows = rows
        self.epochs = epochs

    def __iter__(self) -> Iterator[FeatureBatch]:
        for epoch in range(self.epochs):
            order = generator_for(0, Purpose.ORDER_OF_FEATURES, epoch).permutation(len(self.rows))
            for batch in self.clips.evaluation_batches("train", self.rows[order]):
                yield arranged(self.features, self.features(batch.clips).unsqueeze(1), batch.labels, 1)


def main() -> None:
    arguments = parsed()
    torch.set_num_threads(arguments.threads)
    ratios, differences = [], []
    for number in range(arguments.rounds):
        times, accuracies = {}, {}
        for name in ("cached", "encoded each epoch"):
            start = processor_seconds(), time.monotonic()
            accuracies[name] = accuracy_of(name, arguments, number)
            times[name] = processor_seconds() - start[0]
            wall = time.monotonic() - start[1]
            print(f"{name}: {times[name]:.1f} s of processor time ({wall:.1f} s), accuracy {accuracies[name]:.2%}")
        ratios.append(times["cached"] / times["encoded each epoch"])
        differences.append(accuracies["cached"] - accuracies["encoded each epoch"])
    print(f"cached takes {np.mean(ratios):.3f} of the time; accuracies differ by {max(map(abs, differences)):.2%}")


def accuracy_of(name: str, arguments: argparse.Namespace, number: int) -> float:
    """Train the sweep one way, from nothing to the best head's accuracy on validation clips."""
    clips = LabelledClips(
        train_manifest=f"{arguments.data}/train.csv",
        val_manifest=f"{arguments.data}/val.csv",
        test_manifest=f"{arguments.data}/val.csv",
        num_frames=8,
        frame_step=2,
        crop_size=(64, 64),
        batch_size=64,
        num_workers=1,
    )
    torch.manual_seed(number)
    encoder = VideoEncoder(embed_dim=96, depth=3, num_heads=4, tubelet=(2, 16, 16))
    features = EncoderFeatures("untrained", encoder)
    rows = np.arange(arguments.clips)
    clips.manifests["train"] = clips.manifests["train"].select(rows)
    sweep = Sweep(("attentive",), RATES, DECAYS, arguments.epochs, min_steps=1)
    steps = sweep.num_steps(len(rows))
    probe = Probe(sweep, encoder.embed_dim, encoder.embed_dim, len(clips.class_names), steps)
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(Path(folder), clips)
        if name == "cached":
            cache.encode([features], splits=("train", "val"), report=lambda line: None)
            train = CachedBatches(features, cache.load(features, "train"), num_batches=steps)
        else:
            cache.encode([features], splits=("val",), report=lambda line: None)
            train = EncodedEachEpoch(features, clips, rows, arguments.epochs)
        val = CachedBatches(features, cache.load(features, "val"))
        return train_probe(probe, train, val, val, accelerator="cpu")["attentive"].val_accuracy


def processor_seconds() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/synthetic", help="the embedded dataset")
    parser.add_argument("--clips", type=int, default=640, help="labelled clips")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
