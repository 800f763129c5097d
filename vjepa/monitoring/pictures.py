"""Pictures of a run while it trains, in TensorBoard: masks, features, errors of the predictor, clips that are near."""

from typing import Any

import numpy as np
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from vjepa.data.clips.batch import ClipBatch
from vjepa.grid import gather_tokens
from vjepa.monitoring.health.prediction_statistics import token_losses
from vjepa.monitoring.health.step_tokens import StepTokens
from vjepa.monitoring.token_pictures import (
    errors_picture,
    features_picture,
    masks_picture,
    neighbours_picture,
    principal_axes,
)
from vjepa.training import JEPA


class Pictures(Callback):
    """Every `every_n_steps` steps, of the step's own clips, without another forward pass; on rank 0, for TensorBoard.

    Masks and errors are drawn for each mask. Colours of features keep their meaning over the run: their axes are turned
    to those of the time before.

    Args:
        every_n_steps: steps from one time to the next; 0 turns it off.
        num_clips: clips in each picture; neighbours are looked for in the whole batch of rank 0.
    """

    def __init__(self, every_n_steps: int = 0, num_clips: int = 4):
        if every_n_steps < 0 or num_clips < 1:
            raise ValueError(
                f"every_n_steps ({every_n_steps}) of the pictures must not be negative (0 turns them off), and "
                f"num_clips ({num_clips}) must be at least 1"
            )
        self.every_n_steps = every_n_steps
        self.num_clips = num_clips
        self._axes: Tensor | None = None  # (D, 3)
        self._drawn_step: int | None = None
        self._listening: StepTokens | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"axes": self._axes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._axes = state_dict["axes"]

    def on_train_batch_start(self, trainer: Trainer, module: JEPA, batch: ClipBatch, batch_idx: int) -> None:
        step = trainer.global_step
        if not self.every_n_steps or step % self.every_n_steps or step == self._drawn_step or not _boards(trainer):
            return
        self._drawn_step = step
        self._listening = StepTokens(module)

    def on_train_batch_end(
        self, trainer: Trainer, module: JEPA, outputs: object, batch: ClipBatch, batch_idx: int
    ) -> None:
        if self._listening is None:
            return
        pictures = self._draw(self._listening, batch, module)
        self._stop_listening()
        for board in _boards(trainer):
            for name, picture in pictures.items():
                board.experiment.add_image(f"pictures/{name}", picture, trainer.global_step, dataformats="HWC")

    def on_exception(self, trainer: Trainer, module: JEPA, exception: BaseException) -> None:
        self._stop_listening()

    def _stop_listening(self) -> None:
        if self._listening is not None:
            self._listening.close()
            self._listening = None

    def _draw(self, listening: StepTokens, batch: ClipBatch, module: JEPA) -> dict[str, np.ndarray]:
        heard, few = listening.of_step(batch), slice(self.num_clips)
        masks = [type(mask)(*(ids[few].cpu() for ids in mask)) for mask in batch.masks]
        pictures = {
            f"mask{number}": masks_picture(batch.clips[few], mask, heard.grid) for number, mask in enumerate(masks)
        }
        if heard.targets is None:  # no encoder has seen whole clips
            return pictures
        if heard.target.isfinite().all():
            self._axes = principal_axes(
                heard.target, None if self._axes is None else self._axes.to(heard.target.device)
            )
            pictures["features"] = features_picture(batch.clips[few], heard.target[few], heard.grid, self._axes)
            self._axes = self._axes.cpu()
        if len(batch.clips) > 1:
            pictures["neighbours"] = neighbours_picture(batch.clips, heard.target.mean(dim=1), self.num_clips)
        for number, (predicted, mask) in enumerate(zip(heard.predicted, batch.masks, strict=True)):
            of_hidden = gather_tokens(heard.targets[few], mask.target_ids[few])
            losses = token_losses(predicted[few], of_hidden, module.loss_exponent, module.distance)
            pictures[f"error{number}"] = errors_picture(batch.clips[few], losses.cpu(), masks[number], heard.grid)
        return pictures


def _boards(trainer: Trainer) -> list[TensorBoardLogger]:
    """Where pictures can go, on rank 0."""
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero]
