"""Watches whether embeddings collapse while a JEPA trains; goes to the run's logger as `health/...`."""

from pathlib import Path
from typing import Any, get_args

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from vjepa.data.clips.batch import ClipBatch
from vjepa.evaluation.token_statistics import (
    cosine_between_clips,
    effective_rank,
    feature_std,
    variance_between_clips,
)
from vjepa.grid import gather_tokens
from vjepa.monitoring.health.collapse_watch import CollapseWatch, HealthLimits, Judgement, Verdict
from vjepa.monitoring.health.collapse_watch_actions import (
    Action,
    CollapsedRunError,
    GoodStates,
    require_whole_weights,
    scaled_schedule,
)
from vjepa.monitoring.health.health_bands import HealthBands, read_bands
from vjepa.monitoring.health.prediction_statistics import (
    TrivialLosses,
    loss_ratio,
    losses_by_time,
    nearest_visible,
    token_losses,
    trivial_losses,
)
from vjepa.monitoring.health.weight_statistics import weight_distance
from vjepa.monitoring.log_now import log_now
from vjepa.monitoring.run_checkpoint import RunCheckpoint
from vjepa.objectives import ClipStep, LatentPrediction, normalized_targets
from vjepa.training import JEPA, MovingAverage
from vjepa.training.clip_model import ClipModel


class CollapseMonitor(Callback):
    """Logs the health of embeddings and predictions every `every_n_steps` steps, and a verdict on the run.

    It reads the training step's own tensors and adds no forward pass. Statistics are of rank 0's clips; those of
    context and predicted tokens of the first mask. Where views agree, their embeddings are watched like targets.
    docs/loss-curves.md says how to read them.

    Args:
        every_n_steps: steps from one reading to the next; 0 turns it off.
        limits: of a healthy run.
        action: on collapse. "warn" prints the verdict. "stop" ends the run with exit code 3 and saves `collapsed.ckpt`
            beside the last `last.ckpt`. "rewind" restores weights and optimizer of a healthy step and lowers the
            learning rate; steps and clips go on. Two such states are kept in main memory.
        learning_rate_factor: of "rewind", for the rest of the schedule.
        max_rewinds: the run stops when it collapses after so many rewinds.
        bands: file of `vjepa health-bands`; the fraction of quantities outside their bands is logged.
    """

    def __init__(
        self,
        every_n_steps: int = 25,
        limits: HealthLimits = HealthLimits(),  # noqa: B008 (frozen)
        action: Action = "warn",
        learning_rate_factor: float = 0.5,
        max_rewinds: int = 3,
        bands: Path | None = None,
    ):
        if action not in get_args(Action):
            raise ValueError(f"action '{action}' must be one of {', '.join(get_args(Action))}")
        if not 0 < learning_rate_factor < 1 or max_rewinds < 0:
            raise ValueError(
                f"learning_rate_factor ({learning_rate_factor}) must lie between 0 and 1, max_rewinds ({max_rewinds}) "
                f"must not be negative; for no rewinds give action: stop"
            )
        self.every_n_steps = every_n_steps
        self.action = action
        self.learning_rate_factor = learning_rate_factor
        self.max_rewinds = max_rewinds
        self.bands_file = bands
        self.watch = CollapseWatch(limits)
        self.outside: dict[str, float] = {}  # quantities of the last reading that lie outside the bands
        self.num_compared = 0
        self.rewinds = 0
        self._bands: HealthBands | None = None
        self._good_states = GoodStates()
        self._healthy_readings = 0
        self._due_step: int | None = None
        self._reads_batch = False

    @property
    def judgement(self) -> Judgement | None:
        """The last one; None while there are too few readings."""
        return self.watch.judgement

    def summary(self) -> dict[str, str]:
        """The last verdict, and the number of quantities inside the bands of healthy runs."""
        if self.judgement is None:
            return {}
        bands = ""
        if self.num_compared:
            inside = self.num_compared - len(self.outside)
            bands = f", {inside} of {self.num_compared} quantities inside the bands of healthy runs"
        return {"health": f"{self.judgement.words}{bands}"}

    def setup(self, trainer: Trainer, module: ClipModel, stage: str) -> None:
        if stage == "fit" and self.every_n_steps:
            self._bands = None if self.bands_file is None else read_bands(self.bands_file)
            if self.action == "rewind":
                require_whole_weights(trainer)

    def state_dict(self) -> dict[str, Any]:
        return {"watch": self.watch.state_dict(), "rewinds": self.rewinds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.watch.load_state_dict(state_dict["watch"])
        self.rewinds = state_dict["rewinds"]

    def on_train_start(self, trainer: Trainer, module: ClipModel) -> None:
        if self.rewinds:  # in the part of the run that is gone on with
            self._lower_learning_rate(module, self.rewinds)
        if self._rewinds():
            self._good_states.keep(trainer, module)

    def on_train_batch_start(self, trainer: Trainer, module: ClipModel, batch: ClipBatch, batch_idx: int) -> None:
        step = trainer.global_step
        if self.every_n_steps and step % self.every_n_steps == 0 and step != self._due_step:
            self._due_step = step
            self._reads_batch = True  # of an accumulated step the first batch

    def on_train_batch_end(
        self, trainer: Trainer, module: ClipModel, outputs: dict[str, Any], batch: ClipBatch, batch_idx: int
    ) -> None:
        if self._reads_batch:
            self._reads_batch = False
            distance = None
            if isinstance(module, JEPA) and isinstance(module.targets, MovingAverage):
                distance = weight_distance(module.context_encoder, module.target_encoder)  # of shards: by all ranks
            if trainer.is_global_zero:
                self._read(trainer, module, outputs["step"], distance)
        if self._due_step is not None and trainer.global_step > self._due_step:  # the step is whole
            self._due_step = None
            if self.action != "warn":
                self._act(trainer, module)

    def _read(self, trainer: Trainer, module: ClipModel, step: ClipStep, encoder_distance: float | None) -> None:
        """Take the statistics of a step, judge, log, and print changes of the verdict."""
        values = token_health(step)
        if encoder_distance is not None:
            values["encoder_distance"] = encoder_distance
        if isinstance(module, JEPA) and module.prediction is not None and step.targets is not None:
            values |= prediction_health(step, module.prediction)
        before = self.judgement
        after = self.watch.add(values)
        logged = {f"health/{name}": value for name, value in values.items()}
        if after is not None:
            logged["health/verdict"] = float(after.verdict)
            if after.verdict != (Verdict.HEALTHY if before is None else before.verdict):
                print(f"health at step {trainer.global_step}: {after.words}", flush=True)
        if self._bands is not None:
            known = {name: float(value) for name, value in trainer.callback_metrics.items()} | logged
            progress = trainer.global_step / trainer.estimated_stepping_batches
            self.outside, self.num_compared = self._bands.outside(known, progress)
            if self.num_compared:
                logged["health/outside_bands"] = len(self.outside) / self.num_compared
        log_now(trainer, module, logged)

    def _act(self, trainer: Trainer, module: ClipModel) -> None:
        """All ranks together: only the first one has read the step."""
        judgement: Judgement | None = trainer.strategy.broadcast(self.judgement)
        if judgement is None:
            return
        if judgement.verdict == Verdict.COLLAPSED:
            if self.action == "stop" or self.rewinds >= self.max_rewinds:
                self._stop(trainer, judgement)
            self._rewind(trainer, module)
        elif judgement.verdict == Verdict.HEALTHY and self._rewinds():
            self._healthy_readings += 1
            if self._healthy_readings % self.watch.limits.window == 0:
                self._good_states.keep(trainer, module)

    def _stop(self, trainer: Trainer, judgement: Judgement) -> None:
        kept = ""
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, RunCheckpoint):
                path = callback.folder / "collapsed.ckpt"
                trainer.save_checkpoint(path, weights_only=False)
                kept = f"; what it came to is in {path}"
                if callback.last.exists():
                    kept += f", {callback.last} is from before the verdict"
        after = f" after {self.rewinds} rewinds" if self.rewinds else ""
        raise CollapsedRunError(
            f"the run was stopped at step {trainer.global_step}{after}, {judgement.words}{kept}; try a lower "
            f"learning rate, a momentum nearer to 1, or a regularizer"
        )

    def _rewind(self, trainer: Trainer, module: ClipModel) -> None:
        step = self._good_states.bring_back(trainer, module)
        self.rewinds += 1
        self._lower_learning_rate(module, 1)
        self.watch.forget_window()
        self._healthy_readings = 0
        if trainer.is_global_zero:
            print(
                f"health at step {trainer.global_step}: back to the weights of step {step}, at "
                f"{self.learning_rate_factor:g} of the learning rate (rewind {self.rewinds} of {self.max_rewinds})",
                flush=True,
            )
        log_now(trainer, module, {"health/rewinds": float(self.rewinds)})

    def _lower_learning_rate(self, module: ClipModel, times: int) -> None:
        module.learning_rate = scaled_schedule(module.learning_rate, self.learning_rate_factor**times)

    def _rewinds(self) -> bool:
        return self.action == "rewind" and self.every_n_steps > 0


def token_health(step: ClipStep) -> dict[str, float]:
    """Rank and standard deviation of tokens and of embeddings of views, and how much clips differ in them.

    A step has context, target and predicted tokens where something is predicted, and views where they must agree.
    """
    whole, values = step.whole_tokens, {}
    parts: dict[str, Tensor] = {}
    if step.contexts:
        parts["context"] = step.contexts[0] if whole is None else step.contexts[0][..., -whole.shape[-1] :]
    if whole is not None or step.contexts:
        parts["target"] = parts["context"] if whole is None else whole
    if step.predictions:
        parts["predicted"] = step.predictions[0]
    if step.views is not None:
        parts["view"] = step.views.transpose(0, 1)  # (B, V, D)
    for name, tokens in parts.items():
        values[f"{name}_rank"] = effective_rank(tokens)
        values[f"{name}_std"] = feature_std(tokens)
        if name in ("target", "view"):
            values[f"{name}_centred_rank"] = effective_rank(tokens, centred=True)
            if len(tokens) > 1:
                values[f"{name}_variance"] = variance_between_clips(normalized_targets(tokens))
                values[f"{name}_cosine"] = cosine_between_clips(tokens)
    return values


def prediction_health(step: ClipStep, prediction: LatentPrediction) -> dict[str, float]:
    """The predictor beside trivial ones, over all masks; its loss over the targets' variance, and by time."""
    assert step.targets is not None
    losses, trivial, values = [], [], {}
    for number, (predicted, mask) in enumerate(zip(step.predictions, step.masks, strict=True)):
        hidden_targets = gather_tokens(step.targets, mask.target_ids)
        losses.append(token_losses(predicted, hidden_targets, prediction))
        nearest = nearest_visible(mask, step.grid)
        trivial.append(trivial_losses(step.targets, mask, step.grid, nearest, prediction))
        for away, loss in losses_by_time(losses[-1], nearest.frames_away).items():
            values[f"loss_mask{number}_away{away}"] = loss
    all_losses = torch.cat(losses, dim=1)
    for name, over_masks in zip(TrivialLosses._fields, zip(*trivial, strict=True), strict=True):
        values[f"loss_over_{name}"] = loss_ratio(all_losses, torch.cat(over_masks, dim=1))
    if len(step.targets) > 1:
        values["loss_over_variance"] = float(all_losses.mean()) / max(variance_between_clips(step.targets), 1e-12)
    return values
