"""Batches of features for probes: gathered from a cache, or encoded from clips in each pass."""

from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vjepa.data.clips.batch import ClipBatch
from vjepa.data.clips.evaluation_clips import SplitName
from vjepa.data.clips.labelled_clips import LabelledClips
from vjepa.data.randomness import Purpose, generator_for
from vjepa.evaluation.accelerator import Precision, autocast
from vjepa.evaluation.probes.feature_cache import SplitFeatures
from vjepa.evaluation.probes.frozen_features import FrozenFeatures
from vjepa.evaluation.probes.probe import FeatureBatch


class CachedBatches:
    """Features of some rows of a split.

    Args:
        features: what made them; it pools them.
        split: their tokens and labels.
        num_segments: number of clips of a file that are one sequence.
        rows: of the split's manifest; all if None.
        batch_size: files in a batch.
        num_batches: of endless passes in shuffled order; one pass in order if None.
        seed: of the order.
        clips_are_classes: each clip of a file is a sample whose class is its number (temporal tasks).
    """

    def __init__(
        self,
        features: FrozenFeatures,
        split: SplitFeatures,
        num_segments: int = 1,
        rows: np.ndarray | None = None,
        batch_size: int = 64,
        num_batches: int | None = None,
        seed: int = 0,
        clips_are_classes: bool = False,
    ):
        self.features = features
        self.split = split
        self.num_segments = num_segments
        chosen = torch.ones(len(split.rows), dtype=torch.bool)
        if rows is not None:
            chosen = torch.isin(split.rows, torch.from_numpy(rows))
        self.indices = chosen.nonzero().flatten()
        if not len(self.indices):
            raise ValueError("none of the labelled clips could be read; label more of them")
        self.batch_size = batch_size
        self.num_batches = num_batches
        self.seed = seed
        self.clips_are_classes = clips_are_classes

    def __len__(self) -> int:
        return self.num_batches or -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[FeatureBatch]:
        batches = self._shuffled() if self.num_batches else iter(self.indices.split(self.batch_size))
        for indices in islice(batches, self.num_batches):
            tokens, labels = self.split.gather(indices), self.split.labels[indices]
            if self.clips_are_classes:
                labels = torch.arange(tokens.shape[1]).repeat(len(tokens))
                tokens = tokens.flatten(0, 1).unsqueeze(1)
            yield arranged(self.features.pool, tokens, labels, self.num_segments)

    def _shuffled(self) -> Iterator[Tensor]:
        """Batches over endless passes. No batch spans two passes, so a pass may end with a smaller one."""
        for sweep in count():
            order = generator_for(self.seed, Purpose.ORDER_OF_FEATURES, sweep).permutation(len(self.indices))
            yield from self.indices[torch.from_numpy(order)].split(self.batch_size)


class StreamedBatches:
    """Clips that are decoded and encoded anew in each pass; nothing is cached.

    Args:
        features: encode the clips.
        batches: starts a pass over the clips.
        clips_per_video: number of consecutive clips that are of one file.
        num_segments: number of clips of a file that are one sequence.
        device: to compute on.
        precision: of the encoder.
    """

    def __init__(
        self,
        features: FrozenFeatures,
        batches: Callable[[], Iterable[ClipBatch]],
        clips_per_video: int,
        num_segments: int,
        device: torch.device,
        precision: Precision = "32-true",
    ):
        self.features = features.to(device)
        self.batches = batches
        self.clips_per_video = clips_per_video
        self.num_segments = num_segments
        self.device = device
        self.precision = precision

    def __iter__(self) -> Iterator[FeatureBatch]:
        for batch in self.batches():
            if len(batch.clips):
                with autocast(self.device, self.precision):
                    tokens = self.features(batch.clips.to(self.device)).float()
                tokens = tokens.unflatten(0, (-1, self.clips_per_video))
                labels = batch.labels[:: self.clips_per_video].to(self.device)
                yield arranged(self.features.pool, tokens, labels, self.num_segments)


def streamed_training(
    features: FrozenFeatures,
    clips: LabelledClips,
    rows: np.ndarray,
    batch_size: int,
    num_batches: int,
    device: torch.device,
    precision: Precision = "32-true",
) -> StreamedBatches:
    """Augmented clips of these training rows, in shuffled order."""
    loader = clips.training_batches(rows, batch_size, num_batches)
    per_video = clips.training_cuts.clips_per_video
    return StreamedBatches(features, lambda: loader, per_video, per_video, device, precision)


def streamed_evaluation(
    features: FrozenFeatures,
    clips: LabelledClips,
    split: SplitName,
    device: torch.device,
    rows: np.ndarray | None = None,
    precision: Precision = "32-true",
) -> StreamedBatches:
    """All clips of a split, or of some of its rows, in order."""
    chosen = np.arange(len(clips.manifests[split])) if rows is None else rows
    cuts = clips.cuts[split]

    def batches() -> Iterable[ClipBatch]:
        return clips.evaluation_batches(split, chosen)

    return StreamedBatches(features, batches, cuts.clips_per_video, cuts.num_segments, device, precision)


def mean_of_tokens(tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B D"]:
    return tokens.float().mean(dim=1)


def arranged(
    pool: Callable[[Tensor], Tensor],  # (B, N, D) to (B, P)
    tokens: Float[Tensor, "B segments_views N D"],  # the views of a segment together
    labels: Int64[Tensor, " B"],
    num_segments: int,
) -> FeatureBatch:
    """All segments of a view as one sequence, as in the released evaluations."""
    by_view = tokens.unflatten(1, (num_segments, -1)).transpose(1, 2)  # (B, views, segments, N, D)
    pooled = pool(by_view.flatten(0, 2)).unflatten(0, by_view.shape[:3]).mean(2)
    return FeatureBatch(by_view.flatten(2, 3), pooled, labels)
