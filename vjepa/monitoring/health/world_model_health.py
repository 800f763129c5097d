"""Watches whether a world model learns what planning needs; goes to the run's logger as `health/...`."""

from collections.abc import Iterator

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from vjepa.data.episodes.batch import EpisodeBatch, gather_windows
from vjepa.data.episodes.data_module import EpisodeDataModule
from vjepa.data.episodes.windows import Windows as WindowPlaces
from vjepa.evaluation.planning.model_health import (
    Examples,
    HealthLimitsOfWorldModel,
    Windows,
    verdict,
    world_model_health,
)
from vjepa.training import WorldModel


class WorldModelHealth(Callback):
    """Every `every_n_steps` steps and at the end: health on episodes that are not trained on. It changes no run.

    Args:
        every_n_steps: steps from one reading to the next; 0 leaves only the one at the end.
        num_windows: of validation episodes, and as many of training episodes for read-outs to be fitted on; of training
            episodes alone where there are no others.
        limits: what the model is judged by.
    """

    def __init__(
        self,
        every_n_steps: int = 500,
        num_windows: int = 240,
        limits: HealthLimitsOfWorldModel = HealthLimitsOfWorldModel(),  # noqa: B008 (frozen)
    ):
        if every_n_steps < 0 or num_windows < 3:
            raise ValueError(
                f"every_n_steps ({every_n_steps}) must not be negative, num_windows ({num_windows}) be at least 3"
            )
        self.every_n_steps = every_n_steps
        self.num_windows = num_windows
        self.limits = limits
        self.health: dict[str, float] = {}
        self._read_at: int | None = None

    @property
    def judgement(self) -> str | None:
        """In words; None before the first reading."""
        return verdict(self.health, self.limits) if self.health else None

    def on_train_batch_end(
        self, trainer: Trainer, module: WorldModel, outputs: object, batch: object, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if self.every_n_steps and step % self.every_n_steps == 0 and step != self._read_at:
            self._read(trainer, module)

    def on_train_end(self, trainer: Trainer, module: WorldModel) -> None:
        if trainer.global_step != self._read_at:
            self._read(trainer, module)

    def _read(self, trainer: Trainer, module: WorldModel) -> None:
        self._read_at = trainer.global_step
        if not trainer.is_global_zero:
            return
        was_training = module.training
        module.eval()
        with torch.no_grad():
            self.health = self._health(trainer.datamodule, module)  # type: ignore[attr-defined]
        module.train(was_training)
        for logger in trainer.loggers:  # not by the module: it may log no more when training has ended
            logger.log_metrics({f"health/{name}": value for name, value in self.health.items()}, trainer.global_step)

    def _health(self, data: EpisodeDataModule, module: WorldModel) -> dict[str, float]:
        train, val = data.split
        if not len(val):
            return world_model_health(self._windows(data, train, module))
        return world_model_health(self._windows(data, val, module), self._examples(data, train, module))

    def _examples(self, data: EpisodeDataModule, of_episodes: np.ndarray, module: WorldModel) -> Examples:
        parts = [
            (seen, module.actions.normalized(done), batch.states)
            for batch, seen, done in self._read_windows(data, of_episodes, module)
        ]
        return Examples(*(torch.cat(each) for each in zip(*parts, strict=True)))

    def _windows(self, data: EpisodeDataModule, of_episodes: np.ndarray, module: WorldModel) -> Windows:
        parts = []
        for batch, seen, done in self._read_windows(data, of_episodes, module):
            # Later states would tell what actions did, and a planner doesn't know them.
            known = (batch.states[:, :1], batch.extrinsics)
            given = [each.to(module.device) if each.shape[-1] else None for each in known]
            rolled = module.imagine(seen[:, 0], done, *given)
            # Of windows half a part away: neighbours overlap, and do much the same.
            by_others = module.imagine(seen[:, 0], done.roll(len(done) // 2, 0), *given)
            parts.append((seen, rolled, by_others, module.actions.normalized(done), batch.states))
        return Windows(*(torch.cat(each) for each in zip(*parts, strict=True)))

    def _read_windows(
        self, data: EpisodeDataModule, of_episodes: np.ndarray, module: WorldModel
    ) -> Iterator[tuple[EpisodeBatch, Tensor, Tensor]]:
        """By the part: windows, latents of their frames (B, T, N, D), raw action blocks (B, T - 1, A)."""
        places = WindowPlaces(data.store, of_episodes, data.num_steps, data.frame_step)
        rows = np.unique(np.linspace(0, len(places) - 1, self.num_windows).astype(int))
        episodes, starts = places.at(rows)
        for part in np.array_split(np.arange(len(rows)), max(1, len(rows) // 40)):
            batch = gather_windows(data.store, episodes[part], starts[part], data.num_steps, data.frame_step)
            frames = batch.frames.to(module.device)
            seen = module.encode_frames(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
            yield batch, seen, batch.actions.to(module.device)
