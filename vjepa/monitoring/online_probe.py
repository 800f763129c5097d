"""Accuracy of the encoder's features on labelled clips, probed while the encoder is being trained."""

import math
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities.seed import isolate_rng

from vjepa.data.clips.batch import ClipBatch
from vjepa.data.clips.evaluation_clips import SPLITS, SplitName
from vjepa.data.clips.labelled_clips import LabelledClips
from vjepa.data.randomness import Purpose, generator_for
from vjepa.evaluation.probes.feature_batches import CachedBatches
from vjepa.evaluation.probes.nearest_neighbours import neighbours_trial
from vjepa.evaluation.probes.probe import FeatureBatch, Probe, choose_heads
from vjepa.evaluation.probes.sweep import Sweep
from vjepa.interop.run_folder import EncoderName
from vjepa.models import VideoEncoder
from vjepa.monitoring.log_now import log_at_end, log_now
from vjepa.monitoring.probe_memory import HeldClips, HeldFeatures, LiveFeatures, hold_clips
from vjepa.monitoring.throughput import Throughput
from vjepa.training.clip_model import ClipModel
from vjepa.training.devices.sharding import whole_encoder
from vjepa.training.schedule import cosine_decay

# Fractions of the budget after which encoding and training should be done; the rest is for scoring.
ENCODED_BY = 0.6
TRAINED_BY = 0.9

BATCH_SIZE = 64  # files in a batch that heads learn from


class OnlineProbe(Callback):
    """Logs `probe/knn`, `probe/attentive` and `probe/seconds` before the first step, every `every_n_steps` and at the
    end: accuracies on labelled clips that the run is not trained on.

    The run is unchanged: weights, random numbers, modes and losses. Rank 0 probes, other ranks wait in their next step.
    Clips are decoded once, before training, and stay in memory.

    Where encoding all clips would take more than 60 % of the budget at the speed of the last time, half of them are
    encoded (half of each class to learn from), or a quarter, and so on. Training of heads ends early when 90 % of the
    budget is used, and learning rates fall accordingly faster.

    Args:
        data: labelled clips; without them the callback does nothing.
        every_n_steps: steps from one time to the next; 0 turns it off.
        encoder: whose last level is probed.
        budget_seconds: longest pause of the run each time; decoding, once, comes on top.
        labels_per_class: clips of each class that neighbours and heads learn from.
        num_val_clips: clips that choose the learning rate and the number of neighbours.
        num_test_clips: clips that are scored.
        memory_gigabytes: limit for clips and features in main memory.
        learning_rates: of attentive probes of one block, one for each.
        num_steps: of their training, on 64 files each.
    """

    def __init__(
        self,
        data: LabelledClips | None = None,
        every_n_steps: int = 500,
        encoder: EncoderName = "target",
        budget_seconds: float = 30.0,
        labels_per_class: int = 20,
        num_val_clips: int = 100,
        num_test_clips: int = 200,
        memory_gigabytes: float = 16.0,
        learning_rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3),
        num_steps: int = 200,
    ):
        if every_n_steps < 0:
            raise ValueError(f"every_n_steps ({every_n_steps}) must be at least 1, or 0 for no online probe")
        if budget_seconds <= 0:
            raise ValueError(f"budget_seconds ({budget_seconds}) must be above 0; try 30, or every_n_steps: 0 for none")
        if not learning_rates:
            raise ValueError("there are no learning_rates to train with; give at least one, such as [1e-3]")
        counts = {"labels_per_class": labels_per_class, "num_val_clips": num_val_clips}
        for name, count in (counts | {"num_test_clips": num_test_clips, "num_steps": num_steps}).items():
            if count < 1:
                raise ValueError(f"{name} ({count}) must be at least 1")
        self.data = data
        self.every_n_steps = every_n_steps
        self.encoder = encoder
        self.budget_seconds = budget_seconds
        self.labels_per_class = labels_per_class
        self.num_clips = {"val": num_val_clips, "test": num_test_clips}
        self.memory_gigabytes = memory_gigabytes
        self.sweep = Sweep(heads=("attentive",), learning_rates=learning_rates, weight_decays=(0.01,))
        self.num_steps = num_steps
        self.first: dict[str, float] = {}  # accuracies before the first step, also of a resumed run
        self.last: dict[str, float] = {}
        self._held: dict[SplitName, HeldClips] = {}
        self._seconds_per_clip: float | None = None
        self._probed_step: int | None = None

    def on_train_start(self, trainer: Trainer, module: ClipModel) -> None:
        if self.data is None or not self.every_n_steps:
            return
        if trainer.is_global_zero:
            self._check_memory(self.data, self._encoder(module))
            with isolate_rng():  # workers of a loader take their seeds from torch's generator
                self._held = self._decode(self.data)

    def on_train_batch_start(self, trainer: Trainer, module: ClipModel, batch: ClipBatch, batch_idx: int) -> None:
        if self.every_n_steps and trainer.global_step % self.every_n_steps == 0 and self._is_due(trainer):
            values = self._probe(trainer, module)
            if not values:
                return
            log_now(trainer, module, values)
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, Throughput):
                    callback.pause()

    def on_train_end(self, trainer: Trainer, module: ClipModel) -> None:
        if self.every_n_steps and self._is_due(trainer):
            log_at_end(trainer, self._probe(trainer, module))

    def _is_due(self, trainer: Trainer) -> bool:
        return self.data is not None and trainer.global_step != self._probed_step

    def state_dict(self) -> dict[str, Any]:
        return {"first": self.first} if self.first else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.first = state_dict["first"]

    def summary(self) -> dict[str, str]:
        """First and last accuracies."""
        accuracies = [f"{name} {self.first.get(name, math.nan):.1%} -> {now:.1%}" for name, now in self.last.items()]
        return {"online probe": ", ".join(accuracies)} if accuracies else {}

    def _encoder(self, module: ClipModel) -> VideoEncoder:
        return module.get_encoder(self.encoder)

    def _rows(self, data: LabelledClips, split: SplitName) -> np.ndarray:  # (n,) int64, of the split's manifest
        if split == "train":
            return data.labelled_rows(self.labels_per_class, data.seed)
        order = generator_for(data.seed, Purpose.LABELLED_ROWS, 3).permutation(len(data.manifests[split]))
        return np.sort(order[: self.num_clips[split]])

    def _check_memory(self, data: LabelledClips, encoder: VideoEncoder) -> None:
        frames, (height, width) = data.frames.num_frames, data.crop_size
        grid = encoder.grid_of(torch.empty(1, 3, frames, height, width, device="meta"))
        bytes_per_clip = 3 * frames * height * width + 2 * grid.num_tokens * encoder.embed_dim
        num_clips = {split: len(self._rows(data, split)) * data.cuts[split].clips_per_video for split in SPLITS}
        gigabytes = bytes_per_clip * sum(num_clips.values()) / 1e9
        if gigabytes > self.memory_gigabytes:
            for_training = self.memory_gigabytes * 1e9 / bytes_per_clip - num_clips["val"] - num_clips["test"]
            per_class = int(for_training * self.labels_per_class / num_clips["train"])
            fewer = f"labels_per_class: {per_class}" if per_class >= 1 else "fewer num_test_clips, or smaller clips"
            raise ValueError(
                f"the {sum(num_clips.values())} clips of the online probe and their features take {gigabytes:.1f} GB "
                f"of memory, more than memory_gigabytes ({self.memory_gigabytes:g}); try {fewer}"
            )

    def _decode(self, data: LabelledClips) -> dict[SplitName, HeldClips]:
        started = time.monotonic()
        held = {split: hold_clips(data, split, self._rows(data, split)) for split in SPLITS}
        num_files = sum(len(clips.labels) for clips in held.values())
        for line in [f"{num_files} labelled files decoded in {time.monotonic() - started:.1f} s", *data.notes]:
            print(f"online probe: {line}", flush=True)
        if data.unreadable:
            path, reason = next(iter(data.unreadable.items()))
            print(
                f"online probe: {len(data.unreadable)} labelled files could not be read and are left out, the first: "
                f"{path} ({reason})",
                flush=True,
            )
        return held

    def _probe(self, trainer: Trainer, module: ClipModel) -> dict[str, float]:
        """Probe the encoder as it is, print the accuracies and return them as `probe/...`; on other ranks nothing."""
        assert self.data is not None
        self._probed_step = trainer.global_step
        encoder = whole_encoder(self._encoder(module), keep=trainer.is_global_zero)
        if encoder is None:
            return {}
        with isolate_rng():
            torch.manual_seed(self.data.seed)  # of the heads, so that they start alike each time
            started = time.monotonic()
            features = LiveFeatures(encoder, trainer.precision_plugin)
            encoded = self._encode(self.data, features, module.device)
            accuracies, num_steps = self._accuracies(self.data, features, encoded, started)
            seconds = time.monotonic() - started
        self.first = self.first or accuracies
        self.last = accuracies
        words = ", ".join(f"{name} {accuracy:.1%}" for name, accuracy in accuracies.items())
        num_files, in_all = (sum(len(part.labels) for part in parts.values()) for parts in (encoded, self._held))
        cuts = [f"{num_files} of {in_all} files"] if num_files < in_all else []
        cuts += [f"{num_steps} of {self.num_steps} steps"] if num_steps < self.num_steps else []
        shortened = f"; the budget allowed {' and '.join(cuts)}" if cuts else ""
        print(
            f"online probe at step {trainer.global_step}: {words} on {len(encoded['test'].labels)} test files, "
            f"{seconds:.1f} s{shortened}",
            flush=True,
        )
        return {**{f"probe/{name}": value for name, value in accuracies.items()}, "probe/seconds": seconds}

    def _encode(
        self, data: LabelledClips, features: LiveFeatures, device: torch.device
    ) -> dict[SplitName, HeldFeatures]:
        if self._seconds_per_clip is None:
            few = self._held["test"].clips.flatten(0, 1)[: data.batch_size]
            features.encode(few, data.batch_size, device)  # a first pass loads kernels
            self._seconds_per_clip = features.encode(few, data.batch_size, device)[1] / len(few)
        halvings = self._halvings(ENCODED_BY * self.budget_seconds / self._seconds_per_clip)
        encoded, seconds, num_clips = {}, 0.0, 0
        for split, clips in self._held.items():
            part = clips.halved(halvings)
            pixels = part.clips.flatten(0, 1)
            tokens, split_seconds = features.encode(pixels, data.batch_size, device)
            by_file = tokens.unflatten(0, part.clips.shape[:2])
            encoded[split] = HeldFeatures([by_file], part.labels.to(device), part.rows)
            seconds, num_clips = seconds + split_seconds, num_clips + len(pixels)
        self._seconds_per_clip = seconds / num_clips
        return encoded

    def _halvings(
        self,
        limit: float,  # clips that may be encoded
    ) -> int:
        """Number of halvings to stay within the limit. The last leaves one file of each class, of val and of test."""
        longest = max(int(clips.ranks.max()) + 1 for clips in self._held.values())
        for halvings in range(longest.bit_length()):
            num_clips = sum(int(clips.kept(halvings).sum()) * clips.clips.shape[1] for clips in self._held.values())
            if num_clips <= limit:
                break
        return halvings

    def _accuracies(
        self, data: LabelledClips, features: LiveFeatures, encoded: dict[SplitName, HeldFeatures], started: float
    ) -> tuple[dict[str, float], int]:  # of neighbours and of each kind of head; steps that heads were trained for
        num_classes, width = len(data.class_names), features.encoder.embed_dim
        train, val, test = (
            CachedBatches(features, encoded[split], data.cuts[split].num_segments, batch_size=BATCH_SIZE)
            for split in SPLITS
        )
        shuffled = CachedBatches(
            features,
            encoded["train"],
            data.cuts["train"].num_segments,
            batch_size=BATCH_SIZE,
            num_batches=self.num_steps,
            seed=data.seed,
        )
        accuracies = {"knn": neighbours_trial(train, val, test, num_classes).accuracy}
        probe = Probe(self.sweep, width, width, num_classes, self.num_steps).to(encoded["train"].labels.device)
        used = time.monotonic() - started
        # Where encoding was slower than expected, some time is still left to learn; the next time encodes fewer clips.
        seconds = max(TRAINED_BY * self.budget_seconds - used, 0.1 * self.budget_seconds)
        num_steps = train_heads(probe, shuffled, seconds)
        trials = choose_heads(probe, val, test)
        return accuracies | {str(kind): trial.accuracy for kind, trial in trials.items()}, num_steps


def train_heads(probe: Probe, batches: Iterable[FeatureBatch], seconds: float) -> int:
    """Train all heads for `probe.num_steps` or until the time is up; returns the number of steps.

    Learning rates fall as a cosine to whichever end comes first.
    """
    optimizer = probe.configure_optimizers()["optimizer"]
    started, step = time.monotonic(), 0
    probe.train()
    for batch in batches:
        done = max(step / probe.num_steps, (time.monotonic() - started) / seconds)
        if done >= 1:
            break
        for group, candidate in zip(optimizer.param_groups, probe.candidates, strict=True):
            group["lr"] = candidate.learning_rate * cosine_decay(done, 1)
        loss = probe.training_step(batch.moved(probe.device), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
    return step
