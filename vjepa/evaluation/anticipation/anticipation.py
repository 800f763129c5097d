"""Action anticipation: what will be done in a second? Probes of encoded clips and of the future as predicted.

The protocol of V-JEPA 2 on EPIC-Kitchens-100 (arXiv 2506.09985), with three differences: a clip ends before the
action's start, not its end; actions that training never showed are kept, as wrong ones,
where the released code drops them; and the head is chosen on validation actions, held out of the training ones, and
scored once on the test actions, where the released code reports the best head on these, measure by measure.
"""

import csv
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from vjepa.data.atomic_file import new_file
from vjepa.data.clips.anticipation import TASKS, ActionBatch, ActionSplit, AnticipationClips
from vjepa.data.clips.batch import normalize_clips
from vjepa.evaluation.anticipation.class_mean_recall import ClassMeanRecall
from vjepa.evaluation.probes.frozen_evaluation import device_of
from vjepa.evaluation.probes.frozen_features import FrozenFeatures
from vjepa.evaluation.probes.probe import (
    DEPTHS,
    Candidate,
    Precision,
    Sweep,
    autocast,
    optimizers_of,
    probe_trainer,
    widest_divisor,
)
from vjepa.grid import TokenGrid
from vjepa.masking import TubeMask
from vjepa.models import AttentiveProbe, Predictor, VideoEncoder
from vjepa.objectives.sigmoid_focal import sigmoid_focal_loss


def future_mask(
    grid: TokenGrid,  # of the clips
    seconds: Tensor,  # (B,) from each clip's end to what is asked for
    fps: float,  # of the clips
    tubelet_length: int,  # frames
    num_predicted: int = 1,  # tubelets over time
) -> tuple[TubeMask, TokenGrid]:
    """The clips' tokens as context, those of `num_predicted` tubelets `seconds` later as targets; a grid of both."""
    skipped = (seconds * fps / tubelet_length).long()
    plane = grid.height * grid.width
    context_ids = torch.arange(grid.num_tokens, device=seconds.device).expand(len(seconds), -1)
    first = grid.num_tokens + plane * skipped
    target_ids = first.unsqueeze(1) + torch.arange(num_predicted * plane, device=seconds.device)
    longer = grid._replace(frames=grid.frames + int(skipped.max()) + num_predicted)
    return TubeMask(context_ids, target_ids), longer


class AnticipationFeatures(FrozenFeatures):
    """The encoder's tokens of a clip and, behind them, the predictor's tokens of the time that is asked for.

    Args:
        name: row of the table.
        encoder: sees the clip.
        predictor: guesses what the encoder would see later; only the clip's own tokens if None.
        fps: of the clips.
        num_predicted: tubelets over time that it guesses.
    """

    def __init__(
        self, name: str, encoder: VideoEncoder, predictor: Predictor | None, fps: float, num_predicted: int = 1
    ):
        super().__init__(name)
        if predictor is not None and not predictor.position.is_rotary and predictor.position.position_grid is not None:
            raise ValueError(
                "a predictor with sine-cosine positions on a position_grid can't look beyond it: they would be "
                "stretched; anticipate with rotary positions, or from the encoder alone"
            )
        if predictor is not None and predictor.target_dim != predictor.num_levels * encoder.embed_dim:
            raise ValueError(
                f"this predictor guesses a teacher's tokens ({predictor.target_dim} wide), not its own encoder's "
                f"({encoder.embed_dim}); anticipate from the encoder alone"
            )
        self.encoder = encoder
        self.predictor = predictor
        self.fps = fps
        self.num_predicted = num_predicted
        self.freeze()

    @torch.no_grad()
    def forward(
        self,
        clips: Tensor,  # (B, 3, T, H, W) uint8
        seconds: Tensor,  # (B,) float32
    ) -> Tensor:  # (B, N or N + predicted, D)
        clips = normalize_clips(clips)
        tokens = self.encoder(clips)
        if self.predictor is None:
            return tokens
        grid = self.encoder.grid_of(clips)
        mask, longer = future_mask(grid, seconds, self.fps, self.encoder.tubelet[0], self.num_predicted)
        context = tokens if self.predictor.num_levels == 1 else self.encoder.forward_outputs(clips)
        predicted = self.predictor(context, mask, longer)[..., -self.encoder.embed_dim :]  # the last level's
        return torch.cat((tokens, predicted), dim=1)


class TokenBatch(NamedTuple):
    tokens: Tensor  # (B, N, D) float32
    labels: Tensor  # (B, tasks) int64


class StreamedActions:
    """Clips before actions, encoded as they come; nothing is kept."""

    def __init__(
        self, features: AnticipationFeatures, batches: Callable[[], Iterable[ActionBatch]], precision: Precision
    ):
        self.features = features
        self.batches = batches
        self.precision = precision

    def __iter__(self) -> Iterator[TokenBatch]:
        device = next(self.features.parameters()).device
        for batch in self.batches():
            with autocast(device, self.precision):
                tokens = self.features(batch.clips.to(device), batch.seconds.to(device))
            yield TokenBatch(tokens.float(), batch.labels.to(device))


class AnticipationProbe(LightningModule):
    """Attentive heads with a query for each task, all of a sweep side by side on the same batches.

    Args:
        sweep: which heads, and how they are trained.
        width: of the tokens.
        num_classes: of each task, that heads tell.
        num_steps: steps in all: learning rates end with them.
    """

    def __init__(self, sweep: Sweep, width: int, num_classes: list[int], num_steps: int):
        super().__init__()
        if "linear" in sweep.heads:
            raise ValueError("a linear head has no queries for verb, noun and action; give sweep.heads=[attentive_4]")
        self.sweep = sweep
        self.num_classes = num_classes
        self.num_steps = num_steps
        self.candidates = [
            Candidate(kind, learning_rate, weight_decay)
            for kind in sweep.heads
            for learning_rate in sweep.learning_rates
            for weight_decay in sweep.weight_decays
        ]
        num_heads = widest_divisor(width, sweep.num_heads)
        self.heads = nn.ModuleList(
            AttentiveProbe(
                width,
                num_classes,
                DEPTHS[candidate.kind],
                num_heads,
                activation_checkpointing=sweep.activation_checkpointing,
            )
            for candidate in self.candidates
        )

    def training_step(self, batch: TokenBatch, batch_idx: int) -> Tensor:
        # The heads share no weight: the gradient of the sum is each head's own.
        losses = [
            sigmoid_focal_loss(scores.float(), batch.labels[:, task])
            for head in self.heads
            for task, scores in enumerate(head(batch.tokens))
        ]
        return torch.stack(losses).sum()

    @torch.no_grad()
    def recalls(
        self,
        source: Iterable[TokenBatch],
        all_classes: list[int],  # of each task, those that can't be told included
        chosen: list[int] | None = None,  # numbers of heads; all if None
    ) -> list[list[float]]:  # class-mean recall@5 of each head and task
        self.eval()
        heads = [self.heads[number] for number in (range(len(self.heads)) if chosen is None else chosen)]
        metrics = [
            [ClassMeanRecall(*counts).to(self.device) for counts in zip(self.num_classes, all_classes, strict=True)]
            for _ in heads
        ]
        for batch in source:
            tokens, labels = batch.tokens.to(self.device), batch.labels.to(self.device)
            for head, of_head in zip(heads, metrics, strict=True):
                with autocast(self.device, self.sweep.precision):
                    scores = head(tokens)
                for task, metric in enumerate(of_head):
                    metric.update(scores[task], labels[:, task])
        return [[float(metric.compute()) for metric in of_head] for of_head in metrics]

    def configure_optimizers(self):
        return optimizers_of(self.heads, self.candidates, self.sweep.warmup, self.num_steps)


class AnticipationResult(NamedTuple):
    """One row of the table."""

    features: str
    recall: dict[str, float]  # class-mean recall@5 on the test actions, by task
    val_recall: dict[str, float]
    chosen: str  # what validation chose
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
        features.to(device_of(self.accelerator))
        num_steps = self.sweep.num_steps(len(self.clips.splits["train"].manifest))
        width = features.encoder.embed_dim
        probe = AnticipationProbe(self.sweep, width, self.clips.num_classes, num_steps)
        probe_trainer(self.sweep, num_steps, self.accelerator).fit(probe, self._training(features, num_steps))
        probe.to(device_of(self.accelerator))
        on_val = probe.recalls(self._in_order(features, "val"), self.all_classes)
        # Actions are what the benchmark ranks by; verbs and nouns decide between equals.
        best = max(range(len(on_val)), key=lambda number: (on_val[number][2], sum(on_val[number])))
        [on_test] = probe.recalls(self._in_order(features, "test"), self.all_classes, [best])
        kind, learning_rate, weight_decay = probe.candidates[best]
        result = AnticipationResult(
            features.name,
            dict(zip(TASKS, on_test, strict=True)),
            dict(zip(TASKS, on_val[best], strict=True)),
            f"{kind}, learning rate {learning_rate:g}, weight decay {weight_decay:g}",
            time.monotonic() - started,
        )
        self.report(f"{features.name}: " + ", ".join(f"{task} {value:.1%}" for task, value in result.recall.items()))
        return result

    def _training(self, features: AnticipationFeatures, num_steps: int) -> StreamedActions:
        num_batches = num_steps * self.sweep.accumulate_batches
        loader = self.clips.training_batches(self.sweep.files_at_once, num_batches)
        return StreamedActions(features, lambda: loader, self.sweep.precision)

    def _in_order(self, features: AnticipationFeatures, split: ActionSplit) -> StreamedActions:
        return StreamedActions(features, lambda: self.clips.evaluation_batches(split), self.sweep.precision)

    def _most_frequent(self) -> AnticipationResult:
        """Always the five most frequent classes of the training actions."""
        recalls: dict[ActionSplit, dict[str, float]] = {}
        for split in ("val", "test"):
            labels = torch.from_numpy(self.clips.splits[split].labels)
            recalls[split] = {}
            for task, name in enumerate(TASKS):
                known = torch.from_numpy(self.clips.splits["train"].labels[:, task])
                counts = known.bincount(minlength=self.clips.num_classes[task]).float()
                metric = ClassMeanRecall(self.clips.num_classes[task], self.all_classes[task])
                metric.update(counts.expand(len(labels), -1), labels[:, task])
                recalls[split][name] = float(metric.compute())
        return AnticipationResult("most frequent classes", recalls["test"], recalls["val"], "", 0.0)


def print_table(results: Sequence[AnticipationResult], title: str) -> None:
    table = Table(title=f"{title}: class-mean recall@5 in %")
    table.add_column("features")
    for task in TASKS:
        table.add_column(task, justify="right")
    for result in results:
        table.add_row(result.features, *(f"{result.recall[task] * 100:.1f}" for task in TASKS))
    Console().print(table)


def write_results(results: Sequence[AnticipationResult], folder: Path, facts: dict[str, Any]) -> None:
    """`results.csv`, a line for each row and task, and `results.json` with the facts of the evaluation."""
    folder.mkdir(parents=True, exist_ok=True)
    with new_file(folder / "results.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("features", "task", "recall@5", "val", "chosen"))
        for result in results:
            for task in TASKS:
                numbers = (f"{result.recall[task]:.4f}", f"{result.val_recall[task]:.4f}")
                writer.writerow((result.features, task, *numbers, result.chosen))
    with new_file(folder / "results.json") as temporary:
        temporary.write_text(json.dumps({**facts, "results": [r._asdict() for r in results]}, indent=1) + "\n")
