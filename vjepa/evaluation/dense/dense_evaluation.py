"""Dense evaluation of frozen features beside baselines: all rows meet the same videos, heads and scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int32, Int64
from torch import Tensor
from torchmetrics.functional.classification import binary_average_precision, multiclass_confusion_matrix

from vjepa.data.randomness import Purpose, generator_for
from vjepa.data.segmentation.mask_files import VOID
from vjepa.data.segmentation.segmented_videos import SegmentedVideo, SegmentedVideos
from vjepa.evaluation.dense.foreground import cluster_foreground, component_foreground
from vjepa.evaluation.dense.frame_maps import Maps, MapSource, upsampled
from vjepa.evaluation.dense.mask_scores import Score, last_class_iou, mean_iou, mean_of_sums, region_similarity, score
from vjepa.evaluation.dense.propagation import Propagation, copied_masks, propagated_masks
from vjepa.evaluation.dense.scored_frames import chosen_frames, given_masks, motion_boundaries, object_scores
from vjepa.evaluation.dense.segmentation_head import (
    HeadKind,
    HeadTraining,
    SegmentationHead,
    class_fractions,
    train_head,
)

Task = Literal["foreground", "heads", "motion_boundary", "propagation"]
TASKS: tuple[Task, ...] = ("foreground", "heads", "motion_boundary", "propagation")
LABELLED_TASKS: tuple[Task, ...] = ("heads", "motion_boundary")
FrameCount = int | Literal["all"]
COPY = "copy of the first mask"
STATISTICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "IoU": mean_of_sums,
    "mIoU": mean_iou,
    "object IoU": last_class_iou,
    "AP": mean_of_sums,
    "J&F": lambda sums: (mean_of_sums(sums) + mean_of_sums(sums[:, 1:])) / 2,  # of sums of J, of F, and a number
    "J": mean_of_sums,
    "F": lambda sums: mean_of_sums(sums[:, 1:]),
}


class Method(NamedTuple):
    """A column of a task's table."""

    task: Task
    name: str  # "PCA", "k-means", "linear", "attentive", "nearest tokens"
    labelled_frames: FrameCount | None = None  # of heads
    seed: int = 0


class Result(NamedTuple):
    """One score."""

    method: Method
    features: str
    metric: str
    score: Score


class Pictured(NamedTuple):
    """A test video and what the first row of features makes of it; masks are of the file's size."""

    video: SegmentedVideo
    maps: Maps
    masks: dict[str, Int32[np.ndarray, "T H W"]]  # by what they are, in order


@dataclass(frozen=True)
class DenseSettings:
    """What is measured, and how.

    Args:
        tasks: "foreground" parts objects from ground without labels; "heads" label every token by segmentation heads;
            "motion_boundary" are the same heads for the outlines of what moves; "propagation" carries the first mask
            through the video.
        labelled_frames: numbers of training frames that heads learn from, drawn from those of all training videos; or
            "all".
        frames_per_video: frames of a video that heads learn from and that foreground and heads are scored on, evenly
            spaced; propagation is scored on all.
        seeds: of the labelled frames and the heads' weights.
        num_clusters: of k-means.
        heads: kinds of heads, and their training.
        propagation: settings of the protocol.
    """

    tasks: tuple[Task, ...] = ("foreground", "heads", "propagation")
    labelled_frames: tuple[FrameCount, ...] = (16, "all")
    frames_per_video: int = 4
    seeds: tuple[int, ...] = (0,)
    num_clusters: int = 4
    heads: HeadTraining = field(default_factory=HeadTraining)
    propagation: Propagation = field(default_factory=Propagation)

    def __post_init__(self) -> None:
        if not self.tasks or not set(self.tasks) <= set(TASKS):
            raise ValueError(f"tasks ({', '.join(self.tasks) or 'none'}) must be some of {', '.join(TASKS)}")
        counts = [count for count in self.labelled_frames if count != "all"]
        if not self.labelled_frames or min(counts, default=1) < 1:
            raise ValueError(f"labelled_frames ({list(self.labelled_frames)}) must be numbers from 1, or 'all'")
        if self.frames_per_video < 1 or self.num_clusters < 2 or not self.seeds:
            raise ValueError(
                f"frames_per_video ({self.frames_per_video}) must be at least 1, num_clusters ({self.num_clusters}) at "
                f"least 2, and seeds have one or more"
            )


class DenseEvaluation:
    """Scores rows of features on segmented videos.

    Args:
        videos: with masks, for training heads and for testing.
        rows: the features to compare, each with a name of its own; the first ones are drawn.
        settings: tasks and protocols.
        num_pictures: test videos to keep for pictures.
        device: for heads; rows of features know their own.
    """

    def __init__(
        self,
        videos: SegmentedVideos,
        rows: Sequence[MapSource],
        settings: DenseSettings,
        num_pictures: int = 0,
        device: torch.device = torch.device("cpu"),  # noqa: B008 (constant)
        report: Callable[[str], None] = print,
    ):
        names = [row.name for row in rows]
        if len(set(names)) < len(names):
            raise ValueError(f"two rows of features have one name ({', '.join(names)})")
        self.labelled_tasks = [task for task in LABELLED_TASKS if task in settings.tasks]
        if self.labelled_tasks and not videos.train:
            raise ValueError(
                f"{' and '.join(self.labelled_tasks)} need training videos: give a train_manifest or a train_split, or "
                f"leave them out of tasks"
            )
        self.videos = videos
        self.rows = rows
        self.settings = settings
        self.device = device
        self.report = report
        shown = min(num_pictures, len(videos.test))
        self.shown = {i * len(videos.test) // shown for i in range(shown)}
        self.pictured: list[Pictured] = []

    def run(self) -> list[Result]:
        """All scores; `pictured` is then filled, too."""
        heads = self._trained_heads() if self.labelled_tasks else {}
        sums: dict[tuple[Method, str], list[np.ndarray]] = {}
        for number, entry in enumerate(self.videos.test):
            video = self.videos.read(entry)
            if "propagation" in self.settings.tasks:
                copied = copied_masks(given_masks(video))
                sums.setdefault((Method("propagation", "nearest tokens"), COPY), []).append(_j_and_f(copied, video))
            for row in self.rows:
                maps = row.maps(video.frames)
                masks: dict[str, np.ndarray] = {}
                own = {method: head for (method, name), head in heads.items() if name == row.name}
                for method, found in self._scored(video, maps, own, masks).items():
                    sums.setdefault((method, row.name), []).append(found)
                if row is self.rows[0] and number in self.shown:
                    self.pictured.append(Pictured(video, maps, self._drawn(video, maps, own, masks)))
            if (number + 1) % 20 == 0 or number + 1 == len(self.videos.test):
                self.report(f"scored {number + 1} of {len(self.videos.test)} test videos")
        return [
            Result(method, features, metric, _score(np.stack(found), metric, method))
            for (method, features), found in sums.items()
            for metric in self._metrics(method.task)
        ]

    def _metrics(self, task: Task) -> list[str]:
        objects = ["object IoU"] if self.videos.num_classes is None else []
        return {
            "foreground": ["IoU"],
            "heads": ["mIoU", *objects],
            "motion_boundary": ["AP"],
            "propagation": ["J&F", "J", "F"],
        }[task]

    def _trained_heads(self) -> dict[tuple[Method, str], SegmentationHead]:
        maps: dict[str, list[Tensor]] = {row.name: [] for row in self.rows}
        fractions: dict[tuple[str, Task], list[Tensor]] = {}
        for entry in self.videos.train:
            video = self.videos.read(entry)
            chosen = chosen_frames(video.labelled, self.settings.frames_per_video)
            targets = {task: torch.from_numpy(self._target(task, video, chosen)) for task in self.labelled_tasks}
            for row in self.rows:
                found = row.maps(video.frames)[chosen]
                maps[row.name].append(found.half())
                for task, classes in targets.items():
                    grid = (found.shape[1], found.shape[2])
                    wanted = class_fractions(classes, grid, self._num_classes(task))
                    fractions.setdefault((row.name, task), []).append(wanted.half())
        heads = {}
        for row in self.rows:
            learned = torch.cat(maps[row.name])
            for task in self.labelled_tasks:
                wanted = torch.cat(fractions[row.name, task]).float()
                for kind, method in self._heads(task):
                    frames = self._labelled_frames(method, len(learned))
                    heads[method, row.name] = train_head(
                        kind, learned[frames], wanted[frames], self.settings.heads, method.seed, self.device
                    )
            self.report(f"{row.name}: heads learned from {len(learned)} frames of {len(self.videos.train)} videos")
        return heads

    def _heads(self, task: Task) -> list[tuple[HeadKind, Method]]:
        return [
            (kind, Method(task, kind, count, seed))
            for count in self.settings.labelled_frames
            for kind in self.settings.heads.kinds
            for seed in self.settings.seeds
        ]

    def _labelled_frames(self, method: Method, num_frames: int) -> Int64[np.ndarray, " n"]:
        count = method.labelled_frames
        if count != "all" and count is not None and count > num_frames:
            raise ValueError(
                f"labelled_frames ({count}) are more than the {num_frames} of all training videos; say all"
            )
        order = generator_for(method.seed, Purpose.LABELLED_ROWS, 4).permutation(num_frames)
        return order if count == "all" else order[:count]

    def _num_classes(self, task: Task) -> int:
        return 2 if task == "motion_boundary" else len(self.videos.class_names)

    def _target(self, task: Task, video: SegmentedVideo, chosen: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, "n H W"]:
        if task == "motion_boundary":
            return motion_boundaries(video.masks, chosen)
        return self.videos.classes(video.masks[chosen])

    def _scored(
        self,
        video: SegmentedVideo,
        maps: Maps,
        heads: dict[Method, SegmentationHead],
        masks: dict[str, Int32[np.ndarray, "T H W"]],  # those that were made anyway are put here
    ) -> dict[Method, Float[np.ndarray, " M"]]:
        """For each method the sums over this video that its metrics are made of."""
        found: dict[Method, np.ndarray] = {}
        size, tasks = video.masks.shape[1:], self.settings.tasks
        chosen = chosen_frames(video.labelled, self.settings.frames_per_video)
        if "foreground" in tasks:
            truth = video.masks[chosen]
            for name, scores in self._foreground(maps).items():
                predicted = _pixels(scores[chosen], size)
                ious = [region_similarity(p & (t != VOID), t > 0) for p, t in zip(predicted, truth, strict=True)]
                found[Method("foreground", name)] = np.array([np.mean(ious), 1.0])
        for method, head in heads.items():
            target = torch.from_numpy(self._target(method.task, video, chosen))
            scores = self._class_scores(head, maps[chosen], size)
            if method.task == "motion_boundary":
                found[method] = _average_precision(scores[:, 1] - scores[:, 0], target)
            else:
                counts = multiclass_confusion_matrix(scores, target, scores.shape[1], ignore_index=VOID)
                found[method] = counts.flatten().double().numpy()
        if "propagation" in tasks:
            first = int(video.labelled.argmax())
            after = propagated_masks(maps[first:], given_masks(video)[first:], self.settings.propagation)
            masks["propagated"] = np.concatenate((np.zeros((first, *size), np.int32), after))
            found[Method("propagation", "nearest tokens")] = _j_and_f(masks["propagated"], video)
        return found

    def _foreground(self, maps: Maps) -> dict[str, Float[Tensor, "T h w"]]:
        return {"PCA": component_foreground(maps), "k-means": cluster_foreground(maps, self.settings.num_clusters)}

    def _class_scores(self, head: SegmentationHead, maps: Maps, size: tuple[int, int]) -> Float[Tensor, "n K H W"]:
        return upsampled(head(maps.to(self.device)).cpu(), size)

    def _drawn(
        self, video: SegmentedVideo, maps: Maps, heads: dict[Method, SegmentationHead], masks: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        size, drawn = video.masks.shape[1:], {}
        if "foreground" in self.settings.tasks:
            drawn["without labels"] = _pixels(self._foreground(maps)["PCA"], size).astype(np.int32)
        of_objects = [method for method in heads if method.task == "heads"]
        if of_objects:
            drawn[f"{of_objects[-1].name} head"] = (
                self._class_scores(heads[of_objects[-1]], maps, size).argmax(1).int().numpy()
            )
        return {**drawn, **masks, "truth": self.videos.classes(video.masks).astype(np.int32)}


def _j_and_f(predicted: Int32[np.ndarray, "T H W"], video: SegmentedVideo) -> Float[np.ndarray, " 3"]:
    scores = object_scores(predicted, video.masks)
    return np.array([sum(j for j, _ in scores), sum(f for _, f in scores), len(scores)], np.float64)


def _average_precision(scores: Float[Tensor, "n H W"], boundary: Int64[Tensor, "n H W"]) -> Float[np.ndarray, " 2"]:
    """Average precision over the pixels of a video and 1, or 0 and 0 where nothing moves."""
    if not (boundary == 1).any():
        return np.zeros(2)
    return np.array([float(binary_average_precision(scores, boundary, ignore_index=VOID)), 1.0])


def _pixels(scores: Float[Tensor, "n h w"], size: tuple[int, int]) -> Bool[np.ndarray, "n H W"]:
    return (upsampled(scores.unsqueeze(-1), size)[:, 0] > 0).numpy()


def _score(sums: Float[np.ndarray, "videos M"], metric: str, method: Method) -> Score:
    if method.task in ("propagation", "motion_boundary") and not sums[:, -1].any():
        lacking = (
            "a mask between its first and its last frame" if method.task == "propagation" else "an object that moves"
        )
        raise ValueError(f"no test video has {lacking}; leave {method.task} out of tasks")
    return score(sums, STATISTICS[metric])
