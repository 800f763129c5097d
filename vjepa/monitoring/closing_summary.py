"""The last words of a run: what came out, where it is, and what to type next."""

import time
from datetime import timedelta

from lightning.pytorch import Callback, Trainer

from vjepa.data.clips.data_module import ClipDataModule
from vjepa.monitoring.health.collapse_monitor import CollapseMonitor, described
from vjepa.monitoring.health.world_model_health import WorldModelHealth
from vjepa.monitoring.online_probe import OnlineProbe
from vjepa.monitoring.run_checkpoint import RunCheckpoint
from vjepa.training import JEPA, ImageSelfDistillation, PixelBaseline, WorldModel


class ClosingSummary(Callback):
    """Prints, on rank 0, the loss from start to end, the health of the embeddings, paths and next commands."""

    def __init__(self) -> None:
        self._first_loss: float | None = None

    def setup(self, trainer: Trainer, module: JEPA, stage: str) -> None:
        self._folder = trainer.log_dir  # a collective: all ranks must ask, and only here
        self._started = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, module: JEPA, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if self._first_loss is None and "train/loss" in trainer.callback_metrics:
            self._first_loss = float(trainer.callback_metrics["train/loss"])

    def on_fit_end(self, trainer: Trainer, module: JEPA) -> None:  # after the last checkpoint is written
        if trainer.is_global_zero:
            print("\n" + "\n".join(self._lines(trainer, module)), flush=True)

    def _lines(self, trainer: Trainer, module: JEPA) -> list[str]:
        known = {name: float(value) for name, value in trainer.callback_metrics.items()}
        elapsed = timedelta(seconds=round(time.monotonic() - self._started))
        lines = [f"Finished at step {trainer.global_step} after {elapsed}."]
        if self._first_loss is not None and "train/loss" in known:
            lines.append(f"  loss         {self._first_loss:.4f} -> {known['train/loss']:.4f}")
        for name in ("context", "target", "predicted"):
            if f"health/{name}_rank" in known:
                width = module.get_encoder("context").embed_dim
                rank, std = known[f"health/{name}_rank"], known[f"health/{name}_std"]
                lines.append(f"  {name:<12} effective rank {rank:.1f} of {width} ({rank / width:.0%}), std {std:.3f}")
        if isinstance(module, ImageSelfDistillation) and "train/spread" in known:
            lines.append(
                f"  {'prototypes':<12} spread over {known['train/spread']:.0%} (0: all images alike), of an image "
                f"{known['train/target_entropy']:.0%} uncertain (100 %: nothing told)"
            )
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, CollapseMonitor) and callback.judgement is not None:
                lines.append(f"  {'health':<12} {described(callback.judgement)}{_beside_bands(callback)}")
            if isinstance(callback, WorldModelHealth) and callback.judgement is not None:
                lines += _lines_of_world_model(callback)
            if isinstance(callback, OnlineProbe) and (accuracies := callback.summary()):
                lines.append(f"  {'online probe':<12} {accuracies}")
        lines += _lines_of_data(trainer.datamodule)  # type: ignore[attr-defined]
        checkpoints = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, RunCheckpoint)]
        if checkpoints:
            lines.append(f"  checkpoint   {checkpoints[0].last}")
        if self._folder:
            lines += [
                f"  settings     {self._folder}/config.yaml",
                "Next:",
                f"  tensorboard --logdir {self._folder}",
            ]
            if checkpoints:
                lines.append(_next_of(module, checkpoints[0].last))
                lines.append(
                    f"  vjepa fit -c {self._folder}/config.yaml --ckpt_path {checkpoints[0].last} "
                    f"--trainer.max_steps {2 * trainer.global_step}"
                )
        return lines


def _next_of(module: object, checkpoint: object) -> str:
    if isinstance(module, JEPA | PixelBaseline | ImageSelfDistillation):
        return f"  make probe CHECKPOINT={checkpoint}"
    if isinstance(module, WorldModel) and module.action_limit is None:  # recordings, of no world that we can plan in
        return "  plan with it as section 5 of docs/own-robot-data.md does"
    return f"  make plan CHECKPOINT={checkpoint}"


def _lines_of_world_model(watch: WorldModelHealth) -> list[str]:
    of = watch.health
    lines = [
        f"  {'latents':<12} effective rank {of['rank']:.1f}, std {of['std']:.2f}",
        f"  {'imagined':<12} error {of['error_over_change']:.0%} of what changes in a block, "
        f"{of['error_over_change_last']:.0%} in a window; {of['action_sensitivity']:.1f} times that by other actions",
    ]
    if "state_error" in of:
        lines.append(f"  {'state':<12} read from latents with a mean error of {of['state_error']:.2f}")
    return [*lines, f"  {'health':<12} {watch.judgement}"]


def _beside_bands(monitor: CollapseMonitor) -> str:
    """How many quantities are as in healthy runs of the recipe, where it names them."""
    if not monitor.num_compared:
        return ""
    inside = monitor.num_compared - len(monitor.outside)
    return f", {inside} of {monitor.num_compared} quantities inside the bands of healthy runs"


def _lines_of_data(data: object) -> list[str]:
    """What was seen, by source where there are several, and what could not be read."""
    if not isinstance(data, ClipDataModule):
        return []
    usage = data.usage()
    lines = [
        f"  {'clips' if len(usage) == 1 else name:<12} {seen.clips:,}, {seen.seconds / 3600:.2f} hours of video"
        for name, seen in usage.items()
    ]
    if len(data.quarantine):
        lines.append(f"  unreadable   {len(data.quarantine)} files, replaced by others: {data.quarantine.file}")
    return lines
