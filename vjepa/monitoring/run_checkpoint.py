"""Writes `checkpoints/last.ckpt` in the run's folder, and permanent checkpoints of some steps."""

import math
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint


class RunCheckpoint(Checkpoint):
    """Overwrites `last.ckpt` every `every_n_steps` steps and at the end; `keep_every_n_steps` adds `step_N.ckpt`.

    Files are replaced atomically (`vjepa.training.checkpoint.AtomicCheckpointIO`). Where the loss is not finite, a
    ValueError ends the run before a checkpoint is written.
    """

    def __init__(self, every_n_steps: int = 200, keep_every_n_steps: int | None = None):
        if every_n_steps < 1 or (keep_every_n_steps is not None and keep_every_n_steps < 1):
            raise ValueError(
                f"every_n_steps ({every_n_steps}) and keep_every_n_steps ({keep_every_n_steps}) must be at least 1"
            )
        self.every_n_steps = every_n_steps
        self.keep_every_n_steps = keep_every_n_steps
        self._saved_step = self._seen_step = 0

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        self.folder = Path(trainer.log_dir or trainer.default_root_dir) / "checkpoints"

    @property
    def last(self) -> Path:
        return self.folder / "last.ckpt"

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._saved_step = self._seen_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step == self._seen_step:  # no optimizer step since: gradients are being accumulated
            return
        self._seen_step = step
        if self.keep_every_n_steps and step % self.keep_every_n_steps == 0:
            self._save(trainer, self.folder / f"step_{step}.ckpt")
        if step % self.every_n_steps == 0:
            self._save_last(trainer)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.global_step != self._saved_step:
            self._save_last(trainer)

    def _save_last(self, trainer: Trainer) -> None:
        self._save(trainer, self.last)
        self._saved_step = trainer.global_step

    def _save(self, trainer: Trainer, path: Path) -> None:
        loss = float(trainer.callback_metrics.get("train/loss", 0.0))
        if not math.isfinite(loss):
            raise ValueError(
                f"the loss is {loss} at step {trainer.global_step}, so nothing was saved over {self.last}; "
                f"go on from there with a lower learning rate or gradient clipping"
            )
        trainer.save_checkpoint(path, weights_only=False)  # with the optimizer
