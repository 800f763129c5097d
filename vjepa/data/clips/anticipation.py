"""Clips that end before an action starts: what will be done next? (EPIC-Kitchens-100, arXiv 2006.13256; V-JEPA 2.)

A clip ends `anticipation_seconds` before the action's start. The released evaluation counted from the action's end, so
that its clips show much of the action itself (facebookresearch/vjepa2, issue 173).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vjepa.data.clips.augmentation import RandAugment
from vjepa.data.clips.dataset import MAX_REPLACEMENTS, EvaluationCuts, TrainingCuts
from vjepa.data.clips.frame_sampling import FrameSampling
from vjepa.data.clips.quarantine import Failure
from vjepa.data.loading import decoding_loader
from vjepa.data.manifest.manifest import Manifest, read_manifest
from vjepa.data.order import BatchSampler, RowOrder, SampleKey
from vjepa.data.randomness import Purpose, generator_for
from vjepa.data.video.facts import FileOrBytes, VideoError, VideoFacts
from vjepa.data.video.reader import ReaderChain, ReaderName
from vjepa.data.video.storage import fetch

TASKS = ("verb", "noun", "action")  # an action is a verb and a noun
ActionSplit = Literal["train", "val", "test"]


class ActionBatch(NamedTuple):
    """Clips, what was done after each of them, and how much later."""

    clips: Tensor  # (B, 3, T, H, W) uint8
    labels: Tensor  # (B, tasks) int64
    seconds: Tensor  # (B,) float32: from a clip's end to what is asked for
    rows: Tensor  # (B,) int64, of the split's manifest
    positions: Tensor  # (B,) int64: place in the order of clips
    failures: list[Failure]  # files that could not be read and were replaced


class Actions(NamedTuple):
    """Rows of a manifest with the action that each means."""

    manifest: Manifest  # `window` is where the action starts and ends
    labels: np.ndarray  # (rows, tasks) int64


@dataclass(frozen=True)
class Anticipation:
    """How long before an action its clip ends; both numbers are drawn evenly.

    Args:
        seconds: range of the time from the clip's end to the point of the action that is asked for.
        point: range of where in the action that is, 0 its start and 1 its end.
    """

    seconds: tuple[float, float]
    point: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if not 0 <= self.seconds[0] <= self.seconds[1]:
            raise ValueError(f"anticipation seconds {self.seconds} must be a range from 0 up; try (0.25, 1.75)")
        if not 0 <= self.point[0] <= self.point[1] <= 1:
            raise ValueError(f"the anticipation point {self.point} must be a range within 0 and 1; try (0.0, 0.25)")

    def draw(self, generator: np.random.Generator) -> tuple[float, float]:
        """Seconds and point."""
        return generator.uniform(*self.seconds), generator.uniform(*self.point)


def clip_end(start: float, end: float, seconds: float, point: float = 0.0) -> float:
    """When a clip ends that looks `seconds` ahead to a point of the action from `start` to `end`."""
    return start + point * (end - start) - seconds


def frame_ids_before(
    facts: VideoFacts,
    end: float,  # seconds from the film's first frame
    num_frames: int,
    fps: float,
) -> np.ndarray:  # (num_frames,) int64, ascending
    """The frames shown at `end` - num_frames / fps and so on to `end` - 1 / fps.

    The rate is kept where the film begins later than that, as the predictor counts time by it: the first frame stands.
    """
    times = end - np.arange(num_frames, 0, -1) / fps + 1e-6
    if facts.times is not None:
        ids = np.searchsorted(facts.times, facts.times[0] + times, side="right") - 1
    else:
        ids = np.floor(times * facts.fps)
    return np.clip(ids, 0, facts.num_frames - 1).astype(np.int64)


class ActionClip(NamedTuple):
    pixels: Tensor  # (3, T, H, W) uint8
    labels: np.ndarray  # (tasks,) int64
    seconds: float
    row: int
    position: int
    failures: list[Failure]


class AnticipationDataset(Dataset[ActionClip]):
    """Cuts the clip before one action for each key; frames, crop and time follow from (seed, position)."""

    def __init__(
        self,
        actions: Actions,
        order: RowOrder,
        anticipation: Anticipation,
        frames: FrameSampling,
        cuts: TrainingCuts | EvaluationCuts,
        readers: ReaderChain,
    ):
        assert frames.fps is not None
        self.actions = actions
        self.order = order
        self.anticipation = anticipation
        self.frames = frames
        self.fps = frames.fps
        self.cuts = cuts
        self.readers = readers
        self._scanned: dict[str, VideoFacts] = {}  # films that the manifest says nothing of; each has many actions

    def __getitem__(self, key: SampleKey) -> ActionClip:
        row = self.order.row(key.position)
        manifest = self.actions.manifest
        failures: list[Failure] = []
        for attempt in range(MAX_REPLACEMENTS):
            if attempt:
                row = self.order.replacement(key.position, attempt)
            try:
                pixels, seconds = self._cut(row, key.position, attempt)
            except VideoError as error:
                failures.append(Failure(str(manifest.source), manifest.paths[row], str(error)))
                continue
            return ActionClip(pixels, self.actions.labels[row], seconds, row, key.position, failures)
        _, path, reason = failures[-1]
        raise ValueError(
            f"{MAX_REPLACEMENTS} files of {manifest.source} in a row could not be read, the last was {path}: {reason}"
        )

    def _cut(self, row: int, position: int, attempt: int) -> tuple[Tensor, float]:
        path = self.actions.manifest.paths[row]
        video = fetch(path)
        known = self.actions.manifest.facts(row)
        if known is not None:
            try:
                return self._cut_with(known, video, row, position, attempt)
            except VideoError:
                pass  # the file may have changed since the manifest was made: look again
        if path not in self._scanned:
            self._scanned[path] = self.readers.scan(video)
        return self._cut_with(self._scanned[path], video, row, position, attempt)

    def _cut_with(
        self, facts: VideoFacts, video: FileOrBytes, row: int, position: int, attempt: int
    ) -> tuple[Tensor, float]:
        generator = generator_for(self.order.seed, Purpose.CLIP, position, attempt)
        seconds, point = self.anticipation.draw(generator)
        start, end = self.actions.manifest.window(row)
        assert start is not None and end is not None
        frame_ids = frame_ids_before(facts, clip_end(start, end, seconds, point), self.frames.num_frames, self.fps)
        # Crop and flip as for any clip; only its frames are chosen by the action.
        cut = self.cuts.plan(facts, self.frames, (0, facts.num_frames), generator)[0]._replace(frame_ids=frame_ids)
        frames = self.readers.decode(video, facts, frame_ids.tolist(), cut.box, self.cuts.crop_size)
        return torch.from_numpy(self.cuts.finish(frames, cut, generator)), seconds


@final
class AnticipationClips:
    """Clips before actions: heads learn on `train`, are chosen on `val`, and the chosen one is scored once on `test`.

    Rows of the manifests are actions, with `start` and `end` (seconds), verb and noun. Where there is no validation
    split, some of the training groups become one.

    Classes are numbered task by task, those of the training rows first. A verb, noun or pair of them that no training
    row has can't be guessed; it stays in the other splits with a number beyond `num_classes`, and counts as wrong.

    Args:
        train_manifest, val_manifest, test_manifest: CSV or Parquet files (see `vjepa.data.manifest.manifest`).
        train_split, val_split, test_split: keep only rows with this value in the manifest's `split` column.
        root: folder that paths in the manifests are relative to.
        verb, noun: columns with the classes.
        group: column of what must not be on both sides of train and val, such as participants; the films if None.
        val_fraction: of the training rows, where no validation split is given.
        num_frames, fps: frames of a clip and their rate.
        crop_size: height and width of a clip in pixels.
        anticipation_seconds: from the clip's end to the action's start, in validation and test.
        train_anticipation_seconds, train_anticipation_point: ranges for training, see `Anticipation`.
        crop_scale, crop_aspect_ratio, flip_probability, rand_augment, erase_probability: of training clips.
        batch_size: clips that are decoded and encoded at once in evaluation.
        num_workers: decoding processes.
        seed: of the validation rows, of training's order, times and augmentation.
        readers, decode_time_limit: as for `ClipDataModule`.
    """

    def __init__(
        self,
        train_manifest: str,
        val_manifest: str | None = None,
        test_manifest: str | None = None,
        train_split: str | None = None,
        val_split: str | None = None,
        test_split: str | None = None,
        root: str | None = None,
        verb: str = "verb",
        noun: str = "noun",
        group: str | None = None,
        val_fraction: float = 0.1,
        num_frames: int = 32,
        fps: float = 8.0,
        crop_size: tuple[int, int] = (256, 256),
        anticipation_seconds: float = 1.0,
        train_anticipation_seconds: tuple[float, float] = (0.25, 1.75),
        train_anticipation_point: tuple[float, float] = (0.0, 0.25),
        crop_scale: tuple[float, float] = (0.08, 1.0),
        crop_aspect_ratio: tuple[float, float] = (0.75, 1.35),
        flip_probability: float = 0.0,
        rand_augment: str | None = None,
        erase_probability: float = 0.0,
        batch_size: int = 16,
        num_workers: int = 2,
        seed: int = 0,
        readers: list[ReaderName] = ["decord", "pyav"],  # noqa: B006 (read only)
        decode_time_limit: float | None = 60.0,
    ):
        if batch_size < 1:
            raise ValueError(f"batch_size ({batch_size}) must be at least 1")
        if not 0 < val_fraction < 1:
            raise ValueError(f"val_fraction ({val_fraction}) must be between 0 and 1; try 0.1")
        self.frames = FrameSampling(num_frames, fps)
        self.fps = fps
        self.crop_size = crop_size
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.readers = ReaderChain(readers, decode_time_limit)
        self.anticipation = Anticipation((anticipation_seconds, anticipation_seconds))
        self.training_anticipation = Anticipation(train_anticipation_seconds, train_anticipation_point)
        augment = RandAugment(rand_augment) if rand_augment else None
        self.cuts = EvaluationCuts(crop_size)
        self.training_cuts = TrainingCuts(
            crop_size, crop_scale, crop_aspect_ratio, flip_probability, 1, augment, erase_probability
        )
        self.unreadable: dict[str, str] = {}  # files that were left out so far, and why

        listed: dict[ActionSplit, _Listed] = {"train": _listed(train_manifest, root, train_split, verb, noun)}
        if val_manifest or val_split:
            listed["val"] = _listed(val_manifest or train_manifest, root, val_split, verb, noun)
        else:
            groups = _groups(train_manifest, root, train_split, group)[listed["train"].rows]
            is_val = _whole_groups(groups, val_fraction, seed)
            listed["train"], listed["val"] = (
                listed["train"].select(np.flatnonzero(part)) for part in (~is_val, is_val)
            )
        if not (test_manifest or test_split):
            raise ValueError("there are no actions to test on: give a test_manifest, or a test_split of the manifest")
        listed["test"] = _listed(test_manifest or train_manifest, root, test_split, verb, noun)

        self.class_names, self.num_classes = _numbering(listed["train"].names, [part.names for part in listed.values()])
        self.splits: dict[ActionSplit, Actions] = {
            split: Actions(part.manifest, _numbers(part.names, self.class_names)) for split, part in listed.items()
        }

    def training_batches(self, batch_size: int, num_batches: int) -> DataLoader:
        """Augmented clips in shuffled order, for as long as asked."""
        order = RowOrder(len(self.splits["train"].manifest), self.seed)
        anticipation, cuts = self.training_anticipation, self.training_cuts
        dataset = AnticipationDataset(self.splits["train"], order, anticipation, self.frames, cuts, self.readers)
        return self._loader(dataset, batch_size, num_batches)

    def evaluation_batches(self, split: ActionSplit) -> Iterator[ActionBatch]:
        """The clip before each action, in the manifest's order; what can't be read is left out."""
        num_rows = len(self.splits[split].manifest)
        order = RowOrder(num_rows, self.seed, shuffle=False)
        dataset = AnticipationDataset(
            self.splits[split], order, self.anticipation, self.frames, self.cuts, self.readers
        )
        for batch in self._loader(dataset, self.batch_size, -(-num_rows // self.batch_size)):
            self.unreadable.update({failure.path: failure.reason for failure in batch.failures})
            # A last batch is filled up from the first rows, and an unreadable file is replaced by another row.
            asked = batch.positions == batch.rows
            if asked.any():
                yield ActionBatch(
                    batch.clips[asked],
                    batch.labels[asked],
                    batch.seconds[asked],
                    batch.rows[asked],
                    batch.positions[asked],
                    batch.failures,
                )

    def _loader(self, dataset: AnticipationDataset, batch_size: int, num_batches: int) -> DataLoader:
        sampler = BatchSampler(batch_size, num_batches, lambda: (0, num_batches))
        return decoding_loader(dataset, sampler, _stacked, self.num_workers)


class _Listed(NamedTuple):
    """Actions of a split by their names."""

    manifest: Manifest
    names: np.ndarray  # (rows, tasks) of strings
    rows: np.ndarray  # (rows,) int64, of the file; what has no verb or noun was left out

    def select(self, rows: np.ndarray) -> "_Listed":
        return _Listed(self.manifest.select(rows), self.names[rows], self.rows[rows])


def _listed(source: str, root: str | None, split: str | None, verb: str, noun: str) -> _Listed:
    of_verbs, of_nouns = (read_manifest(source, root, split, column) for column in (verb, noun))
    for manifest, column in ((of_verbs, verb), (of_nouns, noun)):
        if (manifest.labels < 0).all():
            raise ValueError(
                f"{source} has no classes in a column '{column}'; name the columns with --data.verb and --data.noun"
            )
    if of_verbs.windows is None or np.isnan(of_verbs.windows).any():
        raise ValueError(f"each row of {source} must say when its action starts and ends: columns 'start' and 'end'")
    rows = np.flatnonzero((of_verbs.labels >= 0) & (of_nouns.labels >= 0))
    pairs = [(of_verbs.label_name(row), of_nouns.label_name(row)) for row in rows.tolist()]
    names = np.array([(one, other, f"{one}:{other}") for one, other in pairs])
    return _Listed(of_verbs.select(rows), names, rows)


def _groups(source: str, root: str | None, split: str | None, column: str | None) -> np.ndarray:  # (rows,) of strings
    manifest = read_manifest(source, root, split, column or "label")
    if column is None:
        return np.array(list(manifest.paths))
    if (manifest.labels < 0).any():
        raise ValueError(f"not every row of {source} has a group in a column '{column}' (--data.group)")
    return np.array([manifest.label_name(row) for row in range(len(manifest))])


def _whole_groups(groups: np.ndarray, share: float, seed: int) -> np.ndarray:  # (rows,) bool
    """Groups in a drawn order, until they have that share of the rows."""
    chosen = np.zeros(len(groups), bool)
    for name in generator_for(seed, Purpose.LABELLED_ROWS, 1).permutation(np.unique(groups)):
        if chosen.sum() >= share * len(groups):
            break
        chosen |= groups == name
    if chosen.all():
        raise ValueError(
            f"{len(groups)} training actions of {len(np.unique(groups))} groups can't be parted into training and "
            f"validation actions; give a val_manifest or a val_split"
        )
    return chosen


def _numbering(
    of_training: np.ndarray,  # (rows, tasks) of strings
    of_splits: Sequence[np.ndarray],
) -> tuple[list[list[str]], list[int]]:
    """Names of each task by number, and how many of them training rows have."""
    class_names, num_classes = [], []
    for task in range(len(TASKS)):
        seen = sorted(set(of_training[:, task].tolist()))
        others = {name for names in of_splits for name in names[:, task].tolist()} - set(seen)
        class_names.append(seen + sorted(others))
        num_classes.append(len(seen))
    return class_names, num_classes


def _numbers(names: np.ndarray, class_names: list[list[str]]) -> np.ndarray:  # (rows, tasks) int64
    numbers = [{name: number for number, name in enumerate(of_task)} for of_task in class_names]
    return np.array([[numbers[task][name] for task, name in enumerate(row)] for row in names.tolist()], np.int64)


def _stacked(clips: list[ActionClip]) -> ActionBatch:
    return ActionBatch(
        clips=torch.stack([clip.pixels for clip in clips]),
        labels=torch.from_numpy(np.stack([clip.labels for clip in clips])),
        seconds=torch.tensor([clip.seconds for clip in clips], dtype=torch.float32),
        rows=torch.tensor([clip.row for clip in clips]),
        positions=torch.tensor([clip.position for clip in clips]),
        failures=[failure for clip in clips for failure in clip.failures],
    )
