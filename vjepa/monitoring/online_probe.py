"""What a run is for, as a curve: the encoder's features are probed while it is still being trained."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn

from vjepa.data.clips.batch import ClipBatch, normalize_clips
from vjepa.data.clips.labelled_clips import SPLITS, LabelledClips, SplitName
from vjepa.data.randomness import Purpose, generator_for
from vjepa.evaluation.probes.feature_batches import CachedBatches
from vjepa.evaluation.probes.feature_cache import SplitFeatures
from vjepa.evaluation.probes.frozen_evaluation import pooled_of
from vjepa.evaluation.probes.frozen_features import FrozenFeatures
from vjepa.evaluation.probes.nearest_neighbours import best_num_neighbours, neighbour_votes
from vjepa.evaluation.probes.probe import FeatureBatch, Probe, Sweep, choose_heads
from vjepa.interop.run_folder import EncoderName
from vjepa.models import VideoEncoder
from vjepa.monitoring.log_now import log_now
from vjepa.monitoring.throughput import Throughput
from vjepa.training import JEPA

# Shares of the budget: when encoding should be done, and when learning must be. What is left is for scoring.
ENCODED_BY = 0.6
LEARNED_BY = 0.9

BATCH_SIZE = 64  # files from which heads learn at once


class OnlineProbe(Callback):
    """Accuracies on labelled clips that the run itself is not trained with: before the first step (random weights),
    every `every_n_steps` steps and at the end, as `probe/knn` and `probe/attentive`, with their `probe/seconds`.

    It does not change the run: not its weights, random numbers, modes or losses. Rank 0 probes, other ranks wait in
    their next step. Clips are decoded once, before training, and stay in memory.

    The budget is kept by a plain rule. Where encoding all clips would take more than 60 % of it at the speed of the
    last time, half of them are encoded (half of each class to learn from), or a quarter, and so on. Heads that have not
    learned for all their steps when 90 % of it are used end early, and their learning rates fall accordingly faster.

    Args:
        data: labelled clips; nothing happens without them.
        every_n_steps: steps from one time to the next; 0 turns it off.
        encoder: whose features are probed, of the last level.
        budget_seconds: that the run may stand still each time; decoding, once, comes on top.
        labels_per_class: clips of each class that neighbours and heads learn from.
        num_val_clips: clips that learning rate and number of neighbours are chosen on.
        num_test_clips: clips that the chosen ones are scored on.
        memory_gigabytes: what clips and features may take of the main memory.
        learning_rates: with each of them an attentive probe of one block is trained.
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
        counts = {
            "labels_per_class": labels_per_class,
            "num_val_clips": num_val_clips,
            "num_test_clips": num_test_clips,
            "num_steps": num_steps,
        }
        for name, count in counts.items():
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
        self.first: dict[str, float] = {}  # accuracies, also of the run that this one goes on with
        self.last: dict[str, float] = {}
        self._held: dict[SplitName, HeldClips] = {}
        self._seconds_per_clip: float | None = None
        self._probed_step: int | None = None

    def on_train_start(self, trainer: Trainer, module: JEPA) -> None:
        if self.data is None or not self.every_n_steps:
            return
        if trainer.world_size > 1 and not isinstance(trainer.strategy, DDPStrategy):
            raise ValueError(
                f"the online probe needs whole weights on rank 0, and {type(trainer.strategy).__name__} may shard "
                f"them; use --trainer.strategy=ddp, or turn it off with --online_probe.every_n_steps=0"
            )
        if trainer.is_global_zero:
            self._check_memory(self.data, self._encoder(module))
            with isolate_rng():  # workers of a loader take their seeds from torch's generator
                self._held = self._decode(self.data)

    def on_train_batch_start(self, trainer: Trainer, module: JEPA, batch: ClipBatch, batch_idx: int) -> None:
        if self._held and trainer.global_step % self.every_n_steps == 0 and trainer.global_step != self._probed_step:
            log_now(trainer, module, self._probe(trainer, module))
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, Throughput):
                    callback.pause()

    def on_train_end(self, trainer: Trainer, module: JEPA) -> None:
        if self._held and trainer.global_step != self._probed_step:
            values = self._probe(trainer, module)
            for logger in trainer.loggers:  # Lightning takes no `log` any more
                logger.log_metrics(values, step=trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        return {"first": self.first} if self.first else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.first = state_dict["first"]

    def summary(self) -> str | None:
        """Accuracies from start to end in a line; None where nothing was probed."""
        if not self.last:
            return None
        return ", ".join(f"{name} {self.first.get(name, math.nan):.1%} -> {now:.1%}" for name, now in self.last.items())

    def _encoder(self, module: JEPA) -> VideoEncoder:
        return module.target_encoder if self.encoder == "target" else module.context_encoder

    def _rows(self, data: LabelledClips, split: SplitName) -> np.ndarray:  # (n,) int64, of the split's manifest
        if split == "train":
            return data.labelled_rows(self.labels_per_class, data.seed)
        order = generator_for(data.seed, Purpose.LABELLED_ROWS, 3).permutation(len(data.manifests[split]))
        return np.sort(order[: self.num_clips[split]])

    def _check_memory(self, data: LabelledClips, encoder: VideoEncoder) -> None:
        frames, (height, width) = data.frames.num_frames, data.crop_size
        pixels = 3 * frames * height * width
        grid = encoder.grid_of(torch.empty(1, 3, frames, height, width, device="meta"))
        of_clip = pixels + 2 * grid.num_tokens * encoder.embed_dim
        num_clips = {split: len(self._rows(data, split)) * data.cuts[split].clips_per_video for split in SPLITS}
        wanted = of_clip * sum(num_clips.values()) / 1e9
        if wanted > self.memory_gigabytes:
            others = num_clips["val"] + num_clips["test"]
            for_learning = self.memory_gigabytes * 1e9 / of_clip - others
            per_class = int(for_learning * self.labels_per_class / num_clips["train"])
            fewer = f"labels_per_class: {per_class}" if per_class >= 1 else "fewer num_test_clips, or smaller clips"
            raise ValueError(
                f"the {sum(num_clips.values())} clips of the online probe and their features take {wanted:.1f} GB of "
                f"memory, more than memory_gigabytes ({self.memory_gigabytes:g}); try {fewer}"
            )

    def _decode(self, data: LabelledClips) -> "dict[SplitName, HeldClips]":
        started = time.monotonic()
        held = {split: hold_clips(data, split, self._rows(data, split)) for split in SPLITS}
        num_files = sum(len(clips.labels) for clips in held.values())
        print(f"online probe: {num_files} labelled files decoded in {time.monotonic() - started:.1f} s", flush=True)
        if data.unreadable:
            path, reason = next(iter(data.unreadable.items()))
            print(
                f"online probe: {len(data.unreadable)} labelled files could not be read and are left out, the first: "
                f"{path} ({reason})",
                flush=True,
            )
        return held

    def _probe(self, trainer: Trainer, module: JEPA) -> dict[str, float]:
        """Accuracies of this moment as `probe/...`; also prints them."""
        assert self.data is not None
        with isolate_rng():
            torch.manual_seed(self.data.seed)  # of the heads, so that they begin alike each time
            started = time.monotonic()
            features = LiveFeatures(self._encoder(module), trainer.precision_plugin)
            encoded = self._encode(self.data, features, module.device)
            accuracies, num_steps = self._accuracies(self.data, features, encoded, started)
            seconds = time.monotonic() - started
        self._probed_step = trainer.global_step
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
        self, data: LabelledClips, features: "LiveFeatures", device: torch.device
    ) -> "dict[SplitName, HeldFeatures]":
        if self._seconds_per_clip is None:
            few = self._held["test"].clips.flatten(0, 1)[: data.batch_size]
            features.encode(few, data.batch_size, device)  # a first pass loads kernels
            self._seconds_per_clip = features.encode(few, data.batch_size, device)[1] / len(few)
        halvings = self._halvings(ENCODED_BY * self.budget_seconds / self._seconds_per_clip)
        encoded, seconds, num_clips = {}, 0.0, 0
        for split, clips in self._held.items():
            part = clips.halved(halvings)
            pixels = part.clips.flatten(0, 1)
            tokens, of_split = features.encode(pixels, data.batch_size, device)
            by_file = tokens.unflatten(0, part.clips.shape[:2])
            encoded[split] = HeldFeatures([by_file], part.labels.to(device), part.rows)
            seconds, num_clips = seconds + of_split, num_clips + len(pixels)
        self._seconds_per_clip = seconds / num_clips
        return encoded

    def _halvings(
        self,
        limit: float,  # clips that may be encoded
    ) -> int:
        """As many as it takes; after the last one a single file of each class, for validation and for test is left."""
        longest = max(int(clips.ranks.max()) + 1 for clips in self._held.values())
        for halvings in range(longest.bit_length()):
            num_clips = sum(int(clips.kept(halvings).sum()) * clips.clips.shape[1] for clips in self._held.values())
            if num_clips <= limit:
                break
        return halvings

    def _accuracies(
        self,
        data: LabelledClips,
        features: "LiveFeatures",
        encoded: "dict[SplitName, HeldFeatures]",
        started: float,
    ) -> tuple[dict[str, float], int]:  # of neighbours and of each kind of head; steps that heads learned for
        num_classes = len(data.class_names)
        ordered = {
            split: CachedBatches(features, part, data.cuts[split].num_segments, batch_size=BATCH_SIZE)
            for split, part in encoded.items()
        }
        shuffled = CachedBatches(
            features,
            encoded["train"],
            data.cuts["train"].num_segments,
            batch_size=BATCH_SIZE,
            num_batches=self.num_steps,
            seed=data.seed,
        )
        accuracies = {"knn": neighbours_accuracy(ordered, num_classes)}
        width = features.encoder.embed_dim
        probe = Probe(self.sweep, width, width, num_classes, self.num_steps).to(encoded["train"].labels.device)
        used = time.monotonic() - started
        # A time that was slower than the last one still leaves something to learn in; the next one encodes fewer clips.
        seconds = max(LEARNED_BY * self.budget_seconds - used, 0.1 * self.budget_seconds)
        learned = train_heads(probe, shuffled, seconds)
        for kind, trial in choose_heads(probe, ordered["val"], ordered["test"]).items():
            accuracies[kind] = accuracy(trial.guesses, trial.labels)
        return accuracies, learned


class HeldClips(NamedTuple):
    """Clips of one split, decoded, in memory. Files that could not be read are not there."""

    clips: Tensor  # (R, clips of a file, 3, T, H, W) uint8
    labels: Tensor  # (R,) int64
    rows: Tensor  # (R,) int64, of the split's manifest
    ranks: Tensor  # (R,) int64: place among the files that are learned from of one class, or among all of val or test

    def kept(self, halvings: int) -> Tensor:  # (R,) bool
        """The first half of the ranks, or a quarter, and so on; those after a halving are among those before it."""
        return self.ranks < max(1, (int(self.ranks.max()) + 1) >> halvings)

    def halved(self, halvings: int) -> "HeldClips":
        kept = self.kept(halvings)
        return self if kept.all() else HeldClips(*(part[kept] for part in self))


def hold_clips(data: LabelledClips, split: SplitName, rows: np.ndarray) -> HeldClips:
    """Decode these rows of a split. Raises ValueError where none can be read."""
    per_file, shape = data.cuts[split].clips_per_video, (3, data.frames.num_frames, *data.crop_size)
    clips = torch.empty(len(rows), per_file, *shape, dtype=torch.uint8)
    labels, found, filled = [], [], 0
    for batch in data.evaluation_batches(split, rows):
        num_files = len(batch.clips) // per_file
        clips[filled : filled + num_files] = batch.clips.reshape(num_files, per_file, *shape)
        labels.append(batch.labels[::per_file])
        found.append(batch.rows[::per_file])
        filled += num_files
    if not filled:
        raise ValueError(f"none of the {len(rows)} files of {split} that the online probe asked for could be read")
    of_files = torch.cat(labels)
    generator = generator_for(data.seed, Purpose.LABELLED_ROWS, 4)
    ranks = drawn_ranks(of_files if split == "train" else torch.zeros_like(of_files), generator)
    return HeldClips(clips[:filled], of_files, torch.cat(found), ranks)


def drawn_ranks(
    groups: Tensor,  # (R,) int64
    generator: np.random.Generator,
) -> Tensor:  # (R,) int64, from 0 in each group
    order = torch.from_numpy(generator.permutation(len(groups)))
    ranks = torch.empty_like(groups)
    for group in groups.unique():
        of_group = order[groups[order] == group]
        ranks[of_group] = torch.arange(len(of_group))
    return ranks


class HeldFeatures(SplitFeatures):
    """Features of one split in main memory; batches of them are made on the device that the labels are on."""

    def gather(self, places: Tensor) -> Tensor:
        return self.tokens[0][places].to(self.labels.device).float()


class LiveFeatures(FrozenFeatures):
    """Tokens of the last level of an encoder in training, as it is at this moment; nothing in it is changed."""

    def __init__(self, encoder: VideoEncoder, precision: Precision):
        super().__init__("online")
        self.encoder = encoder
        self.precision = precision

    @torch.no_grad()
    def forward(self, clips: Tensor) -> Tensor:
        with evaluation_mode(self.encoder), self.precision.forward_context():
            # Not by calling the encoder: other callbacks listen there to what the training step computes.
            return self.encoder.forward_levels(normalize_clips(clips), [len(self.encoder.blocks) - 1])[0]

    def encode(
        self,
        clips: Tensor,  # (B, 3, T, H, W) uint8
        batch_size: int,
        device: torch.device,
    ) -> tuple[Tensor, float]:  # (B, N, D) float16 in main memory, seconds that it took
        started = time.monotonic()
        tokens = torch.cat([self(part.to(device)).half().cpu() for part in clips.split(batch_size)])
        return tokens, time.monotonic() - started


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Each part of the network goes back to the mode that it was in."""
    modes = [(part, part.training) for part in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def train_heads(
    probe: Probe,
    batches: Iterable[FeatureBatch],
    seconds: float,
) -> int:  # steps that were taken
    """Train all heads for `probe.num_steps`, or until the time is up; learning rates fall as a cosine to either end."""
    optimizer = probe.configure_optimizers()["optimizer"]
    started, step = time.monotonic(), 0
    probe.train()
    for batch in batches:
        done = max(step / probe.num_steps, (time.monotonic() - started) / seconds)
        if done >= 1:
            break
        for group, candidate in zip(optimizer.param_groups, probe.candidates, strict=True):
            group["lr"] = candidate.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
        loss = probe.training_step(FeatureBatch(*(tensor.to(probe.device) for tensor in batch)), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
    return step


def neighbours_accuracy(ordered: Mapping[SplitName, CachedBatches], num_classes: int) -> float:
    """On test clips, of the number of neighbours that is best on validation clips."""
    (bank, labels), (val, val_labels), (test, test_labels) = (pooled_of(ordered[split]) for split in SPLITS)
    count = best_num_neighbours(bank, labels, val, val_labels, num_classes)
    return accuracy(neighbour_votes(bank, labels, test, count, num_classes), test_labels)


def accuracy(
    guesses: Tensor,  # (R, classes)
    labels: Tensor,  # (R,)
) -> float:
    return float((guesses.argmax(1) == labels).float().mean())
