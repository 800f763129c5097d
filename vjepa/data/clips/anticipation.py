"""Clips that end before an action starts: what happens next? (EPIC-Kitchens-100, arXiv 2006.13256; V-JEPA 2.)

A clip ends `anticipation_seconds` before the action's start. The released evaluation counted from the action's end, so
that its clips show much of the action itself (facebookresearch/vjepa2, issue 173).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from numpy.random import Generator
from torch import Tensor

from vjepa.data.clips.batch import ClipBatch
from vjepa.data.clips.cuts import Cut, Cuts, EvaluationCuts, Frames, Pixels, Times
from vjepa.data.clips.evaluation_clips import SPLITS, EvaluationClips, SplitName
from vjepa.data.clips.frame_sampling import FrameSampling
from vjepa.data.clips.quarantine import Failure
from vjepa.data.manifest.class_names import Classes, require_distinct, require_known
from vjepa.data.manifest.manifest import Manifest
from vjepa.data.video.facts import VideoError, VideoFacts

TASKS = ("verb", "noun", "action")  # an action is a verb and a noun
ActionSplit = SplitName


class ActionBatch(NamedTuple):
    """Clips, and the action after each of them."""

    clips: UInt8[Tensor, "B 3 T H W"]
    labels: Int64[Tensor, "B tasks"]
    seconds: Float32[Tensor, " B"]  # from a clip's end to the point in time that it anticipates
    rows: Int64[Tensor, " B"]  # of the split's manifest
    failures: list[Failure]  # unreadable files that were replaced


class Actions(NamedTuple):
    """Rows of a manifest with the action of each."""

    manifest: Manifest  # `window` is the time of the action
    labels: Int64[np.ndarray, "rows tasks"]

    def batch(self, clips: ClipBatch) -> ActionBatch:
        labels = torch.from_numpy(self.labels)[clips.rows]
        return ActionBatch(clips.clips, labels, clips.seconds, clips.rows, clips.failures)


@dataclass(frozen=True)
class Anticipation:
    """How long before an action its clip ends; both numbers are drawn uniformly.

    Args:
        seconds: range of the time from the clip's end to a point of the action.
        point: range of that point, 0 for the action's start and 1 for its end.
    """

    seconds: tuple[float, float]
    point: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if not 0 <= self.seconds[0] <= self.seconds[1]:
            raise ValueError(f"anticipation seconds {self.seconds} must be a range from 0 up; try (0.25, 1.75)")
        if not 0 <= self.point[0] <= self.point[1] <= 1:
            raise ValueError(f"the anticipation point {self.point} must be a range within 0 and 1; try (0.0, 0.25)")

    def draw(self, generator: Generator) -> tuple[float, float]:
        """Seconds and point."""
        return generator.uniform(*self.seconds), generator.uniform(*self.point)


def clip_end(start: float, end: float, seconds: float, point: float = 0.0) -> float:
    """When a clip ends that anticipates a point of the action from `start` to `end` by `seconds`."""
    return start + point * (end - start) - seconds


def frame_ids_before(
    facts: VideoFacts,
    end: float,  # seconds from the film's first frame
    num_frames: int,
    fps: float,
) -> Int64[np.ndarray, " num_frames"]:
    """The frames shown at `end` - num_frames / fps and so on to `end` - 1 / fps.

    Where the film begins later than that its first frame repeats: the predictor measures time by the rate.
    """
    times = end - np.arange(num_frames, 0, -1) / fps + 1e-6
    if facts.times is not None:
        ids = np.searchsorted(facts.times, facts.times[0] + times, side="right") - 1
    else:
        ids = np.floor(times * facts.fps)
    return np.asarray(np.clip(ids, 0, facts.num_frames - 1), np.int64)


@dataclass(frozen=True)
class CutsBeforeActions:
    """Crop, flip and augmentation of other cuts; frames before the action that a row stands for."""

    cuts: Cuts
    anticipation: Anticipation

    @property
    def crop_size(self) -> tuple[int, int]:
        return self.cuts.crop_size

    def plan(self, facts: VideoFacts, frames: FrameSampling, times: Times, generator: Generator) -> list[Cut]:
        seconds, point = self.anticipation.draw(generator)
        start, end = times
        assert start is not None and end is not None and frames.fps is not None
        if reason := facts.missing_part(start):
            raise VideoError(reason)
        frame_ids = frame_ids_before(facts, clip_end(start, end, seconds, point), frames.num_frames, frames.fps)
        [cut] = self.cuts.plan(facts, frames, (None, None), generator)
        return [cut._replace(frame_ids=frame_ids, seconds=seconds)]

    def finish(self, frames: Frames, cut: Cut, generator: Generator) -> Pixels:
        return self.cuts.finish(frames, cut, generator)


@final
@dataclass(kw_only=True, eq=False, repr=False)
class AnticipationClips(EvaluationClips):
    """Clips before actions: heads learn on `train`, are selected on `val`, and the selected one is scored on `test`.

    Rows of the manifests are actions, with `start` and `end` (seconds), verb and noun. Validation takes whole groups.

    Classes are numbered task by task, those of the training rows first. A verb, noun or pair of them without a training
    row stays in the other splits with a number beyond `num_classes`, and counts as wrong.

    Args:
        verb: column with the verb.
        noun: column with the noun.
        group: column whose groups must not be split between train and val, such as participants; the films if None.
        anticipation_seconds: from the clip's end to the action's start, in validation and test.
        train_anticipation_seconds: range of the same in training, see `Anticipation`.
        train_anticipation_point: range of the point of the action that training anticipates.
    """

    verb: str = "verb"
    noun: str = "noun"
    val_fraction: float = 0.1
    num_frames: int = 32
    fps: float = 8.0
    crop_size: tuple[int, int] = (256, 256)
    anticipation_seconds: float = 1.0
    train_anticipation_seconds: tuple[float, float] = (0.25, 1.75)
    train_anticipation_point: tuple[float, float] = (0.0, 0.25)
    batch_size: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        self.frames = FrameSampling(self.num_frames, self.fps)
        at_test = Anticipation((self.anticipation_seconds, self.anticipation_seconds))
        in_training = Anticipation(self.train_anticipation_seconds, self.train_anticipation_point)
        self.cuts = CutsBeforeActions(EvaluationCuts(self.crop_size), at_test)
        self.training_cuts = CutsBeforeActions(self.random_cuts(), in_training)
        columns = [self.verb, self.noun, *([self.group] if self.group else [])]
        read = {split: self.read_split(split, columns) for split in SPLITS}
        given = {split: self._actions(manifest) for split, manifest in read.items() if manifest is not None}
        for column in (self.verb, self.noun):
            learned, *others = (
                Classes(f"{split} actions of {actions.source}", actions.columns[column].counts())
                for split, actions in given.items()
            )
            require_distinct([learned, *others], column)
            for each in others:
                require_known(learned, each, column, "some")
        if "val" not in given:
            train = given["train"]
            given["train"], given["val"] = self.hold_out(train, self.held_out_groups(self._groups(train)))
        names = {split: self._names(given[split]) for split in SPLITS}
        self.class_names, self.num_classes, labels = _numbered(names)
        if self.num_classes[-1] < 2:
            raise ValueError(
                f"all training actions of {given['train'].source} are '{self.class_names[-1][0]}'; a probe needs two "
                f"actions or more"
            )
        self.splits: dict[SplitName, Actions] = {split: Actions(given[split], labels[split]) for split in SPLITS}

    def training_batches(self, batch_size: int, num_batches: int) -> Iterator[ActionBatch]:
        """Augmented clips in shuffled order."""
        train = self.splits["train"]
        loader = self.shuffled_batches(train.manifest, self.frames, self.training_cuts, batch_size, num_batches)
        return map(train.batch, loader)

    def evaluation_batches(self, split: SplitName) -> Iterator[ActionBatch]:
        """The clip before each action, in the manifest's order, without those that can't be read."""
        actions = self.splits[split]
        rows = np.arange(len(actions.manifest))
        for batch in self.ordered_batches(actions.manifest, self.frames, self.cuts, rows, self.batch_size):
            if len(batch.clips):
                yield actions.batch(batch)

    def _actions(self, manifest: Manifest) -> Manifest:
        """The rows with verb and noun."""
        verbs, nouns = (manifest.columns[column].numbers for column in (self.verb, self.noun))
        for numbers, column in ((verbs, self.verb), (nouns, self.noun)):
            if (numbers < 0).all():
                raise ValueError(
                    f"{manifest.source} has no classes in a column '{column}'; name the columns with --data.verb and "
                    f"--data.noun"
                )
        if manifest.windows is None or np.isnan(manifest.windows).any():
            raise ValueError(
                f"each row of {manifest.source} must have the times of its action in the columns 'start' and 'end'"
            )
        return manifest.select(np.flatnonzero((verbs >= 0) & (nouns >= 0)))

    def _names(self, manifest: Manifest) -> np.ndarray:
        """(rows, tasks) strings."""
        verbs, nouns = manifest.columns[self.verb], manifest.columns[self.noun]
        pairs = [(verbs.name(row), nouns.name(row)) for row in range(len(manifest))]
        return np.array([(verb, noun, f"{verb}:{noun}") for verb, noun in pairs])

    def _groups(self, manifest: Manifest) -> np.ndarray:
        """(rows,) strings."""
        if self.group is None:
            return np.array(list(manifest.paths))
        groups = manifest.columns[self.group]
        if (groups.numbers < 0).any():
            raise ValueError(
                f"not every row of {manifest.source} has a group in a column '{self.group}' (--data.group)"
            )
        return np.array([groups.name(row) for row in range(len(manifest))])


def _numbered(
    names: dict[SplitName, np.ndarray],
) -> tuple[list[list[str]], list[int], dict[SplitName, Int64[np.ndarray, "rows tasks"]]]:
    """Names of each task by number, the number of those with training rows, and labels, from (rows, tasks) of names."""
    class_names, num_classes = [], []
    labels = {split: np.zeros(part.shape, np.int64) for split, part in names.items()}
    for task in range(len(TASKS)):
        seen = sorted(set(names["train"][:, task].tolist()))
        others = {name for part in names.values() for name in part[:, task].tolist()} - set(seen)
        class_names.append(seen + sorted(others))
        num_classes.append(len(seen))
        number = {name: index for index, name in enumerate(class_names[task])}
        for split, part in names.items():
            labels[split][:, task] = [number[name] for name in part[:, task].tolist()]
    return class_names, num_classes, labels
