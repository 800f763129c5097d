"""Features of a split, encoded once and cached in safetensors shards, so that heads train in minutes.

A shard is `{folder}/{key}/{split}/{number}.safetensors` with `tokens` (rows, clips, N, D) in float16, `labels`
(rows,) and `rows` (rows,) of the split; its metadata names files that could not be read. The key is a hash of the
features' weights and settings and of the clips: files with their size and time, frames, crops. A pass that was
interrupted continues with the first missing shard.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from vjepa.data.atomic_file import new_file
from vjepa.data.clips.evaluation_clips import SPLITS, SplitName
from vjepa.data.clips.labelled_clips import LabelledClips
from vjepa.evaluation.probes.frozen_features import FrozenFeatures

ROWS_PER_SHARD = 256


class SplitFeatures(NamedTuple):
    """Features of one split, without the rows that could not be read."""

    tokens: list[Tensor]  # of each shard (rows, clips, N, D) float16, mapped from its file
    labels: Int64[Tensor, " R"]
    rows: Int64[Tensor, " R"]  # of the split's manifest

    def gather(
        self,
        indices: Int64[Tensor, " B"],  # from 0 to R - 1
    ) -> Float32[Tensor, "B clips N D"]:
        ends = torch.tensor([len(shard) for shard in self.tokens]).cumsum(0)
        shards = torch.searchsorted(ends, indices, right=True)
        starts = torch.cat((torch.zeros(1, dtype=torch.int64), ends))
        out = torch.empty(len(indices), *self.tokens[0].shape[1:])
        for shard in shards.unique().tolist():
            here = shards == shard
            out[here] = self.tokens[shard][indices[here] - starts[shard]].float()
        return out


class FeatureCache:
    """Features of labelled clips on disk.

    Args:
        folder: of all cached features.
        clips: the labelled clips.
        variants: makes several clips of each from clips and their rows (temporal tasks).
        variants_name: part of the cache's key.
    """

    def __init__(
        self,
        folder: Path,
        clips: LabelledClips,
        variants: Callable[[Tensor, Tensor], Tensor] | None = None,
        variants_name: str = "",
        device: torch.device | str = "cpu",
    ):
        self.folder = folder
        self.clips = clips
        self.variants = variants
        self.variants_name = variants_name
        self.device = torch.device(device)
        self._fingerprints: dict[FrozenFeatures, str] = {}
        self._clips_key = f"{variants_name} {clips.fingerprint()}"

    def num_bytes(self, features: FrozenFeatures) -> int:
        """Size of all shards of these features, before anything is decoded."""
        frames, (height, width) = self.clips.frames.num_frames, self.clips.crop_size
        clip = torch.zeros(1, 3, frames, height, width, dtype=torch.uint8)
        tokens = features.to(self.device)(self._varied(clip, torch.zeros(1, dtype=torch.int64)))
        num_clips = sum(len(self.clips.manifests[split]) * self.clips.cuts[split].clips_per_video for split in SPLITS)
        return int(num_clips * tokens.numel() * 2)

    def cached_bytes(self, features: FrozenFeatures) -> int:
        """Size of the shards of these features that exist."""
        folder = self.folder / self.key_of(features)
        return sum(file.stat().st_size for file in folder.glob("*/*.safetensors"))

    def free_bytes(self) -> int:
        """Free space on the disk, less a tenth."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return int(shutil.disk_usage(self.folder).free * 0.9)

    def encode(
        self,
        all_features: Sequence[FrozenFeatures],
        report: Callable[[str], None] = print,
        splits: Sequence[SplitName] = SPLITS,
    ) -> None:
        """Make every shard that is missing; each clip is decoded once for all features that need it."""
        keys = {features.name: self.key_of(features) for features in all_features}
        for split in splits:
            num_rows = len(self.clips.manifests[split])
            for number, start in enumerate(range(0, num_rows, ROWS_PER_SHARD)):
                missing = [
                    features
                    for features in all_features
                    if not self._shard(keys[features.name], split, number).exists()
                ]
                if not missing:
                    continue
                rows = range(start, min(start + ROWS_PER_SHARD, num_rows))
                shards, unreadable = self._encode_rows(missing, split, rows)
                for features in missing:
                    file = self._shard(keys[features.name], split, number)
                    file.parent.mkdir(parents=True, exist_ok=True)
                    with new_file(file) as temporary:
                        save_file(shards[features.name], temporary, {"unreadable": json.dumps(unreadable)})
                report(f"encoded {rows.stop} of {num_rows} clips of {split}")

    def load(self, features: FrozenFeatures, split: SplitName) -> SplitFeatures:
        """Features that `encode` has made."""
        key, num_rows = self.key_of(features), len(self.clips.manifests[split])
        tokens, labels, rows = [], [], []
        for number in range(-(-num_rows // ROWS_PER_SHARD)):
            with safe_open(self._shard(key, split, number), "pt") as shard:
                self.clips.unreadable.update(json.loads((shard.metadata() or {}).get("unreadable", "{}")))
                if len(shard_rows := shard.get_tensor("rows")):
                    tokens.append(shard.get_tensor("tokens"))
                    labels.append(shard.get_tensor("labels"))
                    rows.append(shard_rows)
        if not rows:
            raise ValueError(f"none of the {num_rows} clips of {split} could be read")
        return SplitFeatures(tokens, torch.cat(labels), torch.cat(rows))

    def key_of(self, features: FrozenFeatures) -> str:
        """The key of these features of these clips."""
        if features not in self._fingerprints:
            self._fingerprints[features] = features.fingerprint()
        return hashlib.sha256(f"{self._fingerprints[features]} {self._clips_key}".encode()).hexdigest()[:16]

    def _shard(self, key: str, split: SplitName, number: int) -> Path:
        return self.folder / key / split / f"{number:05d}.safetensors"

    def _encode_rows(
        self, all_features: Sequence[FrozenFeatures], split: SplitName, rows: range
    ) -> tuple[dict[str, dict[str, Tensor]], dict[str, str]]:  # tensors of each, and files that could not be read
        per_file = self.clips.cuts[split].clips_per_video
        tokens: dict[str, list[Tensor]] = {features.name: [] for features in all_features}
        labels, found, unreadable = [], [], {}
        for batch in self.clips.evaluation_batches(split, np.arange(rows.start, rows.stop)):
            unreadable.update({failure.path: failure.reason for failure in batch.failures})
            if not len(batch.clips):
                continue
            clips = self._varied(batch.clips, batch.rows)
            for features in all_features:
                encoded = features.to(self.device)(clips).half().cpu()
                tokens[features.name].append(encoded.unflatten(0, (len(batch.clips) // per_file, -1)))
            labels.append(batch.labels[::per_file])
            found.append(batch.rows[::per_file])
        nothing = torch.zeros(0, dtype=torch.int64)
        shards = {
            name: {
                "tokens": torch.cat(parts).contiguous() if parts else torch.zeros(0),
                "labels": torch.cat(labels) if labels else nothing,
                "rows": torch.cat(found) if found else nothing,
            }
            for name, parts in tokens.items()
        }
        return shards, unreadable

    def _varied(self, clips: Tensor, rows: Tensor) -> Tensor:
        return (clips if self.variants is None else self.variants(clips, rows)).to(self.device)
