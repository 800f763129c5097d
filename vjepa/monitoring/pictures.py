"""Pictures of a run while it trains: masks, features, errors of the predictor, clips that are near."""

from typing import Any

import numpy as np
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from vjepa.data.clips.batch import ClipBatch
from vjepa.evaluation.principal_axes import principal_axes
from vjepa.grid import gather_tokens
from vjepa.monitoring.health.prediction_statistics import token_losses
from vjepa.monitoring.run_logger import log_picture, picture_loggers
from vjepa.monitoring.token_pictures import (
    errors_picture,
    features_picture,
    masks_picture,
    neighbours_picture,
    with_caption,
)
from vjepa.objectives import ClipStep
from vjepa.training import JEPA
from vjepa.training.clip_model import ClipModel


class Pictures(Callback):
    """Draws the training step's own tensors every `every_n_steps` steps, on rank 0, for its loggers.

    Masks and errors are drawn for each mask; what a step does not have is not drawn. Colours of features keep their
    meaning over the run: their axes are turned to those of the time before.

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
        self._draws_batch = False

    def state_dict(self) -> dict[str, Any]:
        return {"axes": self._axes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._axes = state_dict["axes"]

    def on_train_batch_start(self, trainer: Trainer, module: ClipModel, batch: ClipBatch, batch_idx: int) -> None:
        step = trainer.global_step
        if (
            self.every_n_steps
            and step % self.every_n_steps == 0
            and step != self._drawn_step
            and picture_loggers(trainer)
        ):
            self._drawn_step = step
            self._draws_batch = True

    def on_train_batch_end(
        self, trainer: Trainer, module: ClipModel, outputs: dict[str, Any], batch: ClipBatch, batch_idx: int
    ) -> None:
        if not self._draws_batch:
            return
        self._draws_batch = False
        pictures = self._draw(outputs["step"], batch, module)
        for logger in picture_loggers(trainer):
            for name, picture in pictures.items():
                log_picture(logger, name, picture, trainer.global_step)

    def _draw(self, step: ClipStep, batch: ClipBatch, module: ClipModel) -> dict[str, np.ndarray]:
        few, grid, tokens = slice(self.num_clips), step.grid, step.whole_tokens
        clips = batch.clips[: len(step.clips)]  # those that are masked
        masks = [type(mask)(*(ids[few].cpu() for ids in mask)) for mask in step.masks]
        pictures = {f"mask{number}": masks_picture(clips[few], mask, grid) for number, mask in enumerate(masks)}
        if tokens is not None and tokens.isfinite().all():
            self._axes = principal_axes(tokens, None if self._axes is None else self._axes.to(tokens.device))
            pictures["features"] = features_picture(clips[few], tokens[few], grid, self._axes)
            self._axes = self._axes.cpu()
        largest: dict[str, float] = {}
        embeddings = _embeddings_of_clips(step)
        if embeddings is not None and len(embeddings) > 1:
            pictures["neighbours"] = neighbours_picture(batch.clips[: len(embeddings)], embeddings, self.num_clips)
        if isinstance(module, JEPA) and module.prediction is not None and step.targets is not None:
            for number, (predicted, mask) in enumerate(zip(step.predictions, step.masks, strict=True)):
                hidden_targets = gather_tokens(step.targets[few], mask.target_ids[few])
                losses = token_losses(predicted[few], hidden_targets, module.prediction)
                pictures[f"error{number}"] = errors_picture(clips[few], losses.cpu(), masks[number], grid)
                largest[f"error{number}"] = float(losses.max())
        return {name: with_caption(picture, name, largest.get(name)) for name, picture in pictures.items()}


def _embeddings_of_clips(step: ClipStep) -> Tensor | None:  # (B, D)
    if step.whole_tokens is not None:
        return step.whole_tokens.mean(dim=1)
    return None if step.views is None else step.views.mean(dim=0)
