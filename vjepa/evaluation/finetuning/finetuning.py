"""Fine-tuning of a checkpoint by the probes' protocol: the same clips, splits, folds, seeds, heads and reports.

Each method is a row: the whole encoder, low-rank adapters, the frozen encoder, and the same architecture from scratch.
All see the same batches of augmented clips for the same number of steps; the learning rate and weight decay that are
best on validation clips are scored once on test clips.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from vjepa.data.clips.evaluation_clips import SplitName
from vjepa.data.clips.labelled_clips import LabelledClips
from vjepa.evaluation.accelerator import torch_device
from vjepa.evaluation.finetuning.adapters import Adapters, LowRank, require_peft
from vjepa.evaluation.finetuning.classifier import ClipClassifier, Tuning
from vjepa.evaluation.finetuning.saving import save
from vjepa.evaluation.probes.feature_batches import streamed_evaluation, streamed_training
from vjepa.evaluation.probes.frozen_evaluation import (
    CLASSES,
    Amount,
    Outcome,
    Result,
    Setting,
    describe,
    require_amounts,
    scored,
)
from vjepa.evaluation.probes.frozen_features import EncoderFeatures
from vjepa.evaluation.probes.probe import Probe, negative_log, train_probe
from vjepa.evaluation.probes.scores import Trial, accuracy
from vjepa.evaluation.probes.sweep import Candidate, HeadKind, Sweep
from vjepa.interop.run_folder import EncoderName, PretrainedRun

Method = Literal["whole", "lora", "frozen", "scratch"]
ROWS: dict[Method, str] = {"whole": "whole", "lora": "low-rank", "frozen": "frozen", "scratch": "from scratch"}


class TrainedWeights(NamedTuple):
    """How many weights a method trains."""

    encoder: int
    fraction: float  # of the encoder's own
    head: int


class Tuned(NamedTuple):
    """A trained candidate and how good it is on validation clips."""

    classifier: ClipClassifier
    adapters: Adapters | None
    quality: tuple[float, float]  # accuracy, then the mean logarithm of the right class's probability


class FineTuning:
    """Trains and scores all methods.

    Args:
        clips: labelled clips in three splits, or in folds.
        run: the checkpoint.
        which: its encoder.
        methods: rows of the table.
        sweep: heads, their learning rates and weight decays, and the length of training.
        tuning: how the encoder is trained beside its head.
        low_rank: adapters of the method "lora".
        labels_per_class, seeds: as for `FrozenEvaluation`; seeds also decide the order of clips and their crops.
        folder: models are saved below it, of the first fold and seed and the last amount of labels; none if None.
        accelerator: as for Lightning's trainer.
    """

    def __init__(
        self,
        clips: LabelledClips,
        run: PretrainedRun,
        which: EncoderName = "target",
        methods: Sequence[Method] = ("whole",),
        sweep: Sweep | None = None,
        tuning: Tuning | None = None,
        low_rank: LowRank | None = None,
        labels_per_class: list[Amount] | None = None,
        seeds: list[int] | None = None,
        folder: Path | None = None,
        accelerator: str = "auto",
        report: Callable[[str], None] = print,
    ):
        if not methods:
            raise ValueError(f"methods must name at least one of {', '.join(ROWS)}")
        if "lora" in methods:
            require_peft()
        require_amounts(labels_per_class or [])
        self.folds = [clips] if clips.folds is None else [clips.fold(k) for k in range(clips.folds)]
        self.run_to_tune = run
        self.which = which
        self.methods = list(dict.fromkeys(methods))
        self.sweep = sweep or Sweep()
        self.tuning = tuning or Tuning()
        self.low_rank = low_rank or LowRank()
        self.amounts: list[Amount] = labels_per_class or ["all"]
        self.seeds = seeds or [0]
        self.folder = folder
        self.accelerator = accelerator
        self.device = torch_device(accelerator)
        self.report = report
        self.trained: dict[str, TrainedWeights] = {}  # by row; of the first kind of head

    def run(self) -> list[Result]:
        """All cells. Raises RuntimeError if the frozen encoder changed."""
        for note in self.folds[0].notes:
            self.report(note)
        outcomes: list[Outcome] = []
        for number, clips in enumerate(self.folds):
            if len(self.folds) > 1:
                self.report(f"fold {number + 1} of {len(self.folds)}:")
            for amount in self.amounts:
                for seed in self.seeds:
                    rows = clips.labelled_rows(amount, seed)
                    setting = Setting(CLASSES, clips.class_names, amount, rows, seed)
                    is_saved = (number, amount, seed) == (0, self.amounts[-1], self.seeds[0])
                    for method in self.methods:
                        outcomes += self._method(method, setting, clips.reseeded(seed), is_saved)
        return scored(outcomes)

    def _method(self, method: Method, setting: Setting, clips: LabelledClips, is_saved: bool) -> list[Outcome]:
        started = time.monotonic()
        trials = self._frozen(setting, clips) if method == "frozen" else self._tuned(method, setting, clips, is_saved)
        seconds = time.monotonic() - started
        cells = " ".join(f"{trial.probe} {trial.accuracy:.1%}" for trial in trials)
        self.report(f"{ROWS[method]}, {describe(CLASSES, setting.amount)}: {cells} ({seconds:.0f} s)")
        return [Outcome(setting, ROWS[method], trial, seconds) for trial in trials]

    def _frozen(self, setting: Setting, clips: LabelledClips) -> list[Trial]:
        """Heads on the encoder as it is: a pass of it serves all candidates."""
        features = EncoderFeatures("frozen", self.run_to_tune.encoder(self.which))
        before = features.fingerprint()
        width, num_classes = features.encoder.embed_dim, len(setting.class_names)
        num_steps = self.sweep.num_steps(len(setting.rows))
        torch.manual_seed(setting.seed)
        probe = Probe(self.sweep, width, width, num_classes, num_steps)
        how, precision = (features, clips), self.sweep.precision
        num_batches = num_steps * self.sweep.accumulate_batches
        trials = train_probe(
            probe,
            streamed_training(*how, setting.rows, self.sweep.files_at_once, num_batches, self.device, precision),
            streamed_evaluation(*how, "val", self.device, None, precision),
            streamed_evaluation(*how, "test", self.device, None, precision),
            self.accelerator,
        )
        if features.fingerprint() != before:
            raise RuntimeError("the frozen encoder changed while heads were trained on it")
        self.trained.setdefault(ROWS["frozen"], TrainedWeights(0, 0.0, _size(probe.heads[0])))
        return list(trials.values())

    def _tuned(self, method: Method, setting: Setting, clips: LabelledClips, is_saved: bool) -> list[Trial]:
        best: dict[HeadKind, Tuned] = {}
        for candidate in self.sweep.candidates:
            tuned = self._train(method, candidate, setting, clips)
            if candidate.kind not in best or tuned.quality > best[candidate.kind].quality:
                best[candidate.kind] = tuned
        trials = []
        for kind, tuned in best.items():
            guesses, labels = self._guesses(tuned.classifier, clips, "test")
            trials.append(Trial(kind, tuned.classifier.candidate.settings, tuned.quality[0], guesses, labels))
            if is_saved and self.folder is not None:
                folder = self.folder / (method if len(best) == 1 else f"{method}_{kind}")
                settings = self.run_to_tune.settings.encoder
                save(folder, tuned.classifier, tuned.adapters, settings, clips, self.run_to_tune.named)
        return trials

    def _train(self, method: Method, candidate: Candidate, setting: Setting, clips: LabelledClips) -> Tuned:
        """Every candidate starts from the same head and sees the same clips."""
        scratch = method == "scratch"
        torch.manual_seed(setting.seed)
        encoder = self.run_to_tune.untrained_encoder() if scratch else self.run_to_tune.encoder(self.which)
        num_weights = _size(encoder)
        num_steps = self.sweep.num_steps(len(setting.rows))
        tuning = self.tuning if method == "whole" else replace(self.tuning, layer_decay=1.0)
        tuning = replace(tuning, head_warmup=0.0) if scratch else tuning
        classifier = ClipClassifier(
            encoder, candidate, self.sweep, tuning, len(setting.class_names), num_steps, clips.training_cuts
        )
        adapters = Adapters(encoder, self.low_rank) if method == "lora" else None
        trained = _size(encoder, trained=True)
        self.trained.setdefault(
            ROWS[method], TrainedWeights(trained, trained / num_weights, _size(classifier.head, trained=True))
        )
        num_batches = num_steps * self.sweep.accumulate_batches
        batches = clips.training_batches(setting.rows, self.sweep.files_at_once, num_batches)
        self.sweep.trainer(num_steps, self.accelerator).fit(classifier, batches)
        guesses, labels = self._guesses(classifier, clips, "val")
        classifier.cpu()
        return Tuned(classifier, adapters, (accuracy(guesses, labels), -float(negative_log(guesses, labels))))

    def _guesses(
        self, classifier: ClipClassifier, clips: LabelledClips, split: SplitName
    ) -> tuple[Tensor, Int64[Tensor, " R"]]:
        rows = np.arange(len(clips.manifests[split]))
        return classifier.guesses(clips.evaluation_batches(split, rows), clips.cuts[split], self.device)


def _size(module: nn.Module, trained: bool = False) -> int:
    """Number of weights, or of those that are trained."""
    return sum(each.numel() for each in module.parameters() if each.requires_grad or not trained)
