"""Action anticipation: probes of encoded clips and of their predicted future.

The protocol of V-JEPA 2 on EPIC-Kitchens-100 (arXiv 2506.09985), with three differences: a clip ends before the
action's start, not its end; actions that do not occur in training are kept and count as wrong, where the released code
drops them; and the head is chosen on validation actions, held out of the training ones, and scored once on the test
actions, where the released code reports the best head on these, measure by measure.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from vjepa.data.clips.anticipation import TASKS, ActionBatch, ActionSplit, AnticipationClips
from vjepa.evaluation.accelerator import Precision, autocast, torch_device
from vjepa.evaluation.anticipation.class_mean_recall import ClassMeanRecall
from vjepa.evaluation.anticipation.features import AnticipationFeatures
from vjepa.evaluation.anticipation.probe import AnticipationProbe, TokenBatch
from vjepa.evaluation.probes.sweep import Sweep
from vjepa.evaluation.results import print_table, write_results


class AnticipationResult(NamedTuple):
    """One row of the table."""

    features: str
    recall: dict[str, float]  # class-mean recall@5 on the test actions, by task
    val_recall: dict[str, float]
    chosen: str  # settings that validation chose
    seconds: float


class AnticipationEvaluation:
    """Scores rows of features by the head that validation actions choose.

    Args:
        clips: clips before actions, in three splits.
        rows: the features to compare, each with a name of its own.
        sweep: attentive heads and how they are trained.
        seed: of the heads.
        accelerator: as for Lightning's trainer.
    """

    def __init__(
        self,
        clips: AnticipationClips,
        rows: Sequence[AnticipationFeatures],
        sweep: Sweep,
        seed: int = 0,
        accelerator: str = "auto",
        report: Callable[[str], None] = print,
    ):
        self.clips = clips
        self.rows = rows
        self.sweep = sweep
        self.seed = seed
        self.accelerator = accelerator
        self.device = torch_device(accelerator)
        self.report = report
        self.all_classes = [len(names) for names in clips.class_names]

    def run(self) -> list[AnticipationResult]:
        """All rows, then guessing by frequency. Raises RuntimeError if features changed: frozen means frozen."""
        before = [features.fingerprint() for features in self.rows]
        results = [self._result(features) for features in self.rows]
        if before != [features.fingerprint() for features in self.rows]:
            raise RuntimeError("a frozen network changed while it was probed")
        return [*results, self._most_frequent()]

    def _result(self, features: AnticipationFeatures) -> AnticipationResult:
        started = time.monotonic()
        torch.manual_seed(self.seed)
        features.to(self.device)
        num_steps = self.sweep.num_steps(len(self.clips.splits["train"].manifest))
        probe = AnticipationProbe(self.sweep, features.encoder.embed_dim, self.clips.num_classes, num_steps)
        self.sweep.trainer(num_steps, self.accelerator).fit(probe, self._training(features, num_steps))
        probe.to(self.device)
        on_val = probe.recalls(self._in_order(features, "val"), self.all_classes)
        # The benchmark ranks by actions; verbs and nouns decide between equals.
        best = max(range(len(on_val)), key=lambda number: (on_val[number][2], sum(on_val[number])))
        [on_test] = probe.recalls(self._in_order(features, "test"), self.all_classes, [best])
        candidate = probe.candidates[best]
        result = AnticipationResult(
            features.name,
            dict(zip(TASKS, on_test, strict=True)),
            dict(zip(TASKS, on_val[best], strict=True)),
            f"{candidate.kind}, {candidate.settings}",
            time.monotonic() - started,
        )
        self.report(f"{features.name}: " + ", ".join(f"{task} {value:.1%}" for task, value in result.recall.items()))
        return result

    def _training(self, features: AnticipationFeatures, num_steps: int) -> "StreamedActions":
        num_batches = num_steps * self.sweep.accumulate_batches

        def batches() -> Iterable[ActionBatch]:
            return self.clips.training_batches(self.sweep.files_at_once, num_batches)

        return StreamedActions(features, batches, self.device, self.sweep.precision)

    def _in_order(self, features: AnticipationFeatures, split: ActionSplit) -> "StreamedActions":
        def batches() -> Iterable[ActionBatch]:
            return self.clips.evaluation_batches(split)

        return StreamedActions(features, batches, self.device, self.sweep.precision)

    def _most_frequent(self) -> AnticipationResult:
        """Always the five most frequent classes of the training actions."""
        recalls: dict[ActionSplit, dict[str, float]] = {"val": {}, "test": {}}
        for split, recall in recalls.items():
            labels = torch.from_numpy(self.clips.splits[split].labels)
            for task, name in enumerate(TASKS):
                known = torch.from_numpy(self.clips.splits["train"].labels[:, task])
                counts = known.bincount(minlength=self.clips.num_classes[task]).float()
                metric = ClassMeanRecall(self.clips.num_classes[task], self.all_classes[task])
                metric.update(counts.expand(len(labels), -1), labels[:, task])
                recall[name] = float(metric.compute())
        return AnticipationResult("most frequent classes", recalls["test"], recalls["val"], "", 0.0)


class StreamedActions:
    """Clips before actions, encoded anew in each pass; nothing is cached."""

    def __init__(
        self,
        features: AnticipationFeatures,
        batches: Callable[[], Iterable[ActionBatch]],  # starts a pass
        device: torch.device,
        precision: Precision,
    ):
        self.features = features
        self.batches = batches
        self.device = device
        self.precision = precision

    def __iter__(self) -> Iterator[TokenBatch]:
        for batch in self.batches():
            with autocast(self.device, self.precision):
                tokens = self.features(batch.clips.to(self.device), batch.seconds.to(self.device))
            yield TokenBatch(tokens.float(), batch.labels.to(self.device))


def show_table(results: Sequence[AnticipationResult], title: str) -> None:
    print_table(
        f"{title}: class-mean recall@5 in %",
        ["features", *TASKS],
        [[result.features, *(f"{result.recall[task] * 100:.1f}" for task in TASKS)] for result in results],
    )


def write_files(results: Sequence[AnticipationResult], folder: Path, facts: dict[str, object]) -> None:
    """`results.csv`, a line for each row and task, and `results.json` with the facts of the evaluation."""
    rows = [
        {
            "features": result.features,
            "task": task,
            "recall@5": f"{result.recall[task]:.4f}",
            "val": f"{result.val_recall[task]:.4f}",
            "chosen": result.chosen,
        }
        for result in results
        for task in TASKS
    ]
    columns = ("features", "task", "recall@5", "val", "chosen")
    write_results(folder, facts, [result._asdict() for result in results], {"results.csv": (columns, rows)})
