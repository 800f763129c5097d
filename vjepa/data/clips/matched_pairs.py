"""Matched pairs: two clips alike but for one event, which is impossible, or harmless and possible.

Columns of a manifest of pairs, beside `path`: `pair` (the same in exactly two rows), `possible` (1 or 0), a property
such as permanence, and, where it is known, `violation_frame` (the first frame of the file, from 0, that differs). In a
harmless pair both clips are possible, `harmless` is 1, and `changed` is 1 for the clip whose light or texture changes.
`group` joins pairs that are also scored together (quadruplets of IntPhys). `actions` names a .npy file of raw actions,
(frames, numbers), for world models.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, final

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from vjepa.data.clips.sliding_windows import SlidingWindowDataset, Stretch, StretchKey, Unreadable, Video, WholeVideo
from vjepa.data.loading import decoding_loader
from vjepa.data.manifest.manifest import Manifest, read_manifest
from vjepa.data.video import storage
from vjepa.data.video.reader import ReaderChain, ReaderName

COLUMNS = ("pair", "possible", "violation_frame", "harmless", "changed", "group", "actions")
PairSplit = Literal["val", "test"]


class MatchedPair(NamedTuple):
    """Rows of a manifest. The odd clip is the impossible one or, in a harmless pair, the changed one."""

    name: str
    property: str
    plain: int
    odd: int
    is_harmless: bool = False
    violation_frame: int | None = None  # of the file
    group: str = ""


class WholeClip(NamedTuple):
    """All frames of a clip at the rate of the evaluation."""

    frames: UInt8[Tensor, "3 F H W"]
    frame_ids: Int64[np.ndarray, " F"]  # in the file
    actions: Float32[np.ndarray, "F A"] | None = None  # raw, of all frames of the file


class DecodedPair(NamedTuple):
    pair: MatchedPair
    plain: WholeClip
    odd: WholeClip
    paths: tuple[str, str]


def matched_pairs(manifest: Manifest, property: str = "property") -> list[MatchedPair]:
    """The pairs of a manifest that was read with `COLUMNS` and the column of properties.

    Raises ValueError for a missing column, a pair that is not two rows, and rows that contradict each other.
    """
    for column in ("pair", "possible", property):
        if not (manifest.columns[column].numbers >= 0).any():
            raise ValueError(
                f"{manifest.source} has no values in a column '{column}'; a manifest of matched pairs has pair, "
                f"possible (1 or 0) and a column of properties (--data.property_column)"
            )
    rows: dict[str, list[int]] = {}
    for row in range(len(manifest)):
        rows.setdefault(manifest.columns["pair"].name(row), []).append(row)
    return [_pair(manifest, property, name, members) for name, members in rows.items()]


def _pair(manifest: Manifest, property: str, name: str, rows: Sequence[int]) -> MatchedPair:
    def refusal(reason: str) -> ValueError:
        listed = ", ".join(manifest.paths[row] for row in rows[:3])
        return ValueError(f"pair '{name}' of {manifest.source} ({listed}) {reason}")

    def cells(column: str) -> list[str]:
        return [manifest.columns[column].name(row) for row in rows]

    def flags(column: str) -> list[bool]:
        found = cells(column)
        if not {*found} <= {"0", "1", ""}:
            raise refusal(f"has {' and '.join(found)} in column '{column}'; write 1 or 0")
        return [cell == "1" for cell in found]

    if not name:
        raise refusal("has no name; fill the column 'pair'")
    if len(rows) != 2:
        raise refusal(f"has {len(rows)} clip{'s' * (len(rows) > 1)}; a pair is two rows, so add or remove clips")
    properties, possible, harmless, changed = cells(property), flags("possible"), flags("harmless"), flags("changed")
    if properties[0] != properties[1] or not properties[0]:
        raise refusal(f"has '{properties[0]}' and '{properties[1]}' in column '{property}'; give both clips one")
    if "" in cells("possible"):
        raise refusal("has a clip without 1 or 0 in column 'possible'")
    if any(harmless):
        if not (all(harmless) and all(possible) and sum(changed) == 1):
            raise refusal("is harmless: both clips need possible = 1 and harmless = 1, and one of them changed = 1")
    elif sum(possible) != 1:
        raise refusal("needs one clip with possible = 1 and one with 0 (or harmless = 1 in both)")
    odd = changed.index(True) if any(harmless) else possible.index(False)
    frame = cells("violation_frame")[odd]
    if frame and not frame.isdecimal():
        raise refusal(f"has violation_frame {frame}; write the number of a frame, from 0, or leave the cell empty")
    violation_frame = int(frame) if frame else None
    group = cells("group")[odd]
    return MatchedPair(name, properties[0], rows[1 - odd], rows[odd], any(harmless), violation_frame, group)


@final
@dataclass(kw_only=True, eq=False, repr=False)
class PairClips:
    """Whole clips of matched pairs; each is decoded once.

    Args:
        test_manifest: pairs whose scores are reported.
        val_manifest: pairs by which settings are chosen and thresholds are set; none if None.
        train_manifest: possible clips, on which a stand-in for a missing predictor is fitted; none if None.
        train_split: use only rows with this value in the manifest's `split` column.
        val_split: the same for validation.
        test_split: the same for testing.
        root: folder that paths in manifests are relative to; each manifest's own folder if None.
        property_column: by which pairs are grouped in the tables.
        fps: frames per second of clips. Give exactly one of this and frame_step.
        frame_step: frames of the file from one clip frame to the next.
        crop_size: height and width of a clip in pixels, out of the largest central crop.
        pairs_per_property: use the first so many pairs of each property; all if None.
        num_workers: decoding processes.
        readers: in order of preference: decord, pyav, torchcodec.
        decode_time_limit: seconds after which a reader that does not return is abandoned; never if None.
    """

    test_manifest: str
    val_manifest: str | None = None
    train_manifest: str | None = None
    train_split: str | None = None
    val_split: str | None = None
    test_split: str | None = None
    root: str | None = None
    property_column: str = "property"
    fps: float | None = None
    frame_step: float | None = None
    crop_size: tuple[int, int] = (224, 224)
    pairs_per_property: int | None = None
    num_workers: int = 2
    readers: list[ReaderName] = field(default_factory=lambda: ["decord", "pyav"])
    decode_time_limit: float | None = 60.0

    def __post_init__(self) -> None:
        windows = WholeVideo(self.fps, self.frame_step)
        chain = ReaderChain(self.readers, self.decode_time_limit)
        self.dataset = SlidingWindowDataset(windows, self.crop_size, chain)
        self.unreadable: dict[str, str] = {}  # reasons by path
        if self.pairs_per_property is not None and self.pairs_per_property < 1:
            raise ValueError(f"pairs_per_property ({self.pairs_per_property}) must be at least 1")
        self._manifests: dict[PairSplit, Manifest] = {"test": self._read(self.test_manifest, self.test_split)}
        if self.val_manifest is not None:
            self._manifests["val"] = self._read(self.val_manifest, self.val_split)
        of_splits = ((split, matched_pairs(each, self.property_column)) for split, each in self._manifests.items())
        self.pairs = {split: self._first(pairs) for split, pairs in of_splits}

    @property
    def has_actions(self) -> bool:
        return any((each.columns["actions"].numbers >= 0).any() for each in self._manifests.values())

    def facts(self) -> dict[str, object]:
        """Manifests and rate, for files of results."""
        names = ("test_manifest", "test_split", "val_manifest", "val_split", "fps", "frame_step", "crop_size")
        return {name: getattr(self, name) for name in names}

    def decoded_pairs(self, split: PairSplit) -> Iterator[DecodedPair]:
        """All pairs in order; one with a file that can't be read is left out, and listed in `unreadable`."""
        manifest, pairs = self._manifests[split], self.pairs[split]
        rows = [row for pair in pairs for row in (pair.plain, pair.odd)]
        decoded = self._decoded(Video(manifest.paths[row], *manifest.window(row)) for row in rows)
        for pair, plain, odd in zip(pairs, decoded, decoded, strict=True):
            if isinstance(plain, Unreadable) or isinstance(odd, Unreadable):
                continue
            clips = [self._clip(each, manifest, row) for each, row in ((plain, pair.plain), (odd, pair.odd))]
            yield DecodedPair(pair, clips[0], clips[1], (manifest.paths[pair.plain], manifest.paths[pair.odd]))

    def training_clips(self, most: int) -> Iterator[WholeClip]:
        """Clips of the training manifest, evenly chosen; impossible ones are left out."""
        assert self.train_manifest is not None
        manifest = self._read(self.train_manifest, self.train_split)
        rows = [row for row in range(len(manifest)) if manifest.columns["possible"].name(row) != "0"]
        rows = rows[:: -(-len(rows) // most)]
        for found in self._decoded(Video(manifest.paths[row], *manifest.window(row)) for row in rows):
            if isinstance(found, Stretch):
                yield WholeClip(found.frames[:, found.indices[0]], found.plan.windows.frame_ids[0])

    def _read(self, source: str, split: str | None) -> Manifest:
        return read_manifest(source, self.root, split, [*COLUMNS, self.property_column])

    def _first(self, pairs: list[MatchedPair]) -> list[MatchedPair]:
        kept: dict[str, list[MatchedPair]] = {}
        for pair in pairs:
            kept.setdefault(pair.property, []).append(pair)
        return [pair for each in kept.values() for pair in each[: self.pairs_per_property]]

    def _decoded(self, videos: Iterable[Video]) -> Iterator[Stretch | Unreadable]:
        listed = list(videos)
        keys = ([StretchKey(number, video)] for number, video in enumerate(listed))
        for found in decoding_loader(self.dataset, keys, _only, self.num_workers):
            if isinstance(found, Unreadable):
                self.unreadable[listed[found.number].path] = found.reason
            yield found

    def _clip(self, found: Stretch, manifest: Manifest, row: int) -> WholeClip:
        name = manifest.columns["actions"].name(row)
        actions = None
        if name:
            file = storage.join(storage.parent(manifest.paths[row]), name)
            if not Path(file).is_file():
                raise ValueError(f"there is no file {file}, which {manifest.source} names as actions")
            actions = np.load(file, allow_pickle=False).astype(np.float32)
        return WholeClip(found.frames[:, found.indices[0]], found.plan.windows.frame_ids[0], actions)


def _only(found: list[Stretch | Unreadable]) -> Stretch | Unreadable:
    return found[0]
