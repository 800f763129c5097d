"""Batches of features for probes: gathered from a cache, or encoded from clips as they come."""

from collections.abc import Iterator
from itertools import count, islice

import numpy as np
import torch
from torch import Tensor

from vjepa.data.clips.labelled_clips import LabelledClips, SplitName
from vjepa.data.randomness import Purpose, generator_for
from vjepa.evaluation.probes.feature_cache import SplitFeatures
from vjepa.evaluation.probes.frozen_features import FrozenFeatures
from vjepa.evaluation.probes.probe import FeatureBatch, Precision, autocast


class CachedBatches:
    """Features of some rows of a split.

    Args:
        features: what made them; it knows how they are pooled.
        split: their tokens and labels.
        num_segments: how many clips of a file are one sequence.
        rows: of the split's manifest; all if None.
        batch_size: files in a batch.
        num_batches: endless passes in shuffled order are cut after so many; one pass in order if None.
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
        self.places = chosen.nonzero().flatten()
        if not len(self.places):
            raise ValueError("none of the labelled clips could be read; label more of them")
        self.batch_size = batch_size
        self.num_batches = num_batches
        self.seed = seed
        self.clips_are_classes = clips_are_classes

    def __len__(self) -> int:
        return self.num_batches or -(-len(self.places) // self.batch_size)

    def __iter__(self) -> Iterator[FeatureBatch]:
        if self.num_batches is None:
            batches: Iterator[Tensor] = iter(self.places.split(self.batch_size))
        else:
            batches = islice(self._shuffled(), self.num_batches)
        for places in batches:
            yield self._batch(self.split.gather(places), self.split.labels[places])

    def _shuffled(self) -> Iterator[Tensor]:
        """Batches over endless passes; a batch never straddles two of them, as few files as it may hold."""
        for sweep in count():
            order = generator_for(self.seed, Purpose.ORDER_OF_FEATURES, sweep).permutation(len(self.places))
            yield from self.places[torch.from_numpy(order)].split(self.batch_size)

    def _batch(self, tokens: Tensor, labels: Tensor) -> FeatureBatch:  # (B, clips, N, D), (B,)
        if self.clips_are_classes:
            labels = torch.arange(tokens.shape[1]).repeat(len(tokens))
            tokens = tokens.flatten(0, 1).unsqueeze(1)
        return arranged(self.features, tokens, labels, self.num_segments)


class StreamedTrainingBatches:
    """Augmented training clips, encoded as they come; nothing is kept."""

    def __init__(
        self,
        features: FrozenFeatures,
        clips: LabelledClips,
        rows: np.ndarray,
        batch_size: int,
        num_batches: int,
        device: torch.device,
        precision: Precision = "32-true",
    ):
        self.features = features.to(device)
        self.device = device
        self.precision = precision
        self.num_batches = num_batches
        self.num_segments = clips.training_cuts.clips_per_video
        self.loader = clips.training_batches(rows, batch_size, num_batches)

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[FeatureBatch]:
        for batch in self.loader:
            with autocast(self.device, self.precision):
                tokens = self.features(batch.clips.to(self.device)).float()
            tokens = tokens.unflatten(0, (-1, self.num_segments))
            labels = batch.labels[:: self.num_segments].to(self.device)
            yield arranged(self.features, tokens, labels, self.num_segments)


class StreamedEvaluationBatches:
    """All clips of a split, or of some of its rows, encoded as they come."""

    def __init__(
        self,
        features: FrozenFeatures,
        clips: LabelledClips,
        split: SplitName,
        device: torch.device,
        rows: np.ndarray | None = None,
        precision: Precision = "32-true",
    ):
        self.features = features.to(device)
        self.clips = clips
        self.split = split
        self.device = device
        self.precision = precision
        self.rows = np.arange(len(clips.manifests[split])) if rows is None else rows

    def __iter__(self) -> Iterator[FeatureBatch]:
        cuts = self.clips.cuts[self.split]
        for batch in self.clips.evaluation_batches(self.split, self.rows):
            if len(batch.clips):
                with autocast(self.device, self.precision):
                    tokens = self.features(batch.clips.to(self.device)).float()
                tokens = tokens.unflatten(0, (-1, cuts.clips_per_video))
                labels = batch.labels[:: cuts.clips_per_video].to(self.device)
                yield arranged(self.features, tokens, labels, cuts.num_segments)


def arranged(
    features: FrozenFeatures,
    tokens: Tensor,  # (B, segments * views, N, D), the views of a segment together
    labels: Tensor,  # (B,)
    num_segments: int,
) -> FeatureBatch:
    """All segments of a view as one sequence, as the released evaluations have it."""
    by_view = tokens.unflatten(1, (num_segments, -1)).transpose(1, 2)  # (B, views, segments, N, D)
    pooled = features.pool(by_view.flatten(0, 2)).unflatten(0, by_view.shape[:3]).mean(2)
    return FeatureBatch(by_view.flatten(2, 3), pooled, labels)
