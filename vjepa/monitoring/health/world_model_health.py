"""Health of a world model in training, logged as `health/...`."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from vjepa.data.atomic_file import new_file
from vjepa.data.episodes.batch import EpisodeBatch, gather_windows
from vjepa.data.episodes.data_module import EpisodeDataModule
from vjepa.data.episodes.windows import Windows as WindowPlaces
from vjepa.data.video.encoding import encode_video
from vjepa.evaluation.captions import Picture
from vjepa.evaluation.planning.model_health import (
    Examples,
    HealthLimitsOfWorldModel,
    Windows,
    verdict,
    world_model_health,
)
from vjepa.monitoring.health.imagined_picture import imagined_film, imagined_picture
from vjepa.monitoring.log_now import log_at_end
from vjepa.monitoring.run_logger import log_picture, picture_loggers
from vjepa.training import WorldModel
from vjepa.training.devices.sharding import ShardedStrategy

IN_PICTURE = 40  # windows whose frames stand for what is imagined
FILM = "imagined.mp4"
LONGEST_FILM = 16  # action chunks
FILMED_PER_SECOND = 3  # action chunks


class WorldModelHealth(Callback):
    """Measures health on validation episodes every `every_n_steps` steps and at the end; the run is unchanged.

    Args:
        every_n_steps: steps from one reading to the next; 0 for a single reading at the end.
        num_windows: of validation episodes, and as many of training episodes to fit read-outs; of training episodes
            alone where there is no validation split.
        limits: of a healthy model.
        pictured_windows: windows of validation in the picture of imagined against real frames, and in the film of
            longer ones that the end of training writes to the run's folder, `imagined.mp4`; 0 draws none.
    """

    def __init__(
        self,
        every_n_steps: int = 500,
        num_windows: int = 240,
        limits: HealthLimitsOfWorldModel = HealthLimitsOfWorldModel(),  # noqa: B008 (frozen)
        pictured_windows: int = 4,
    ):
        if every_n_steps < 0 or pictured_windows < 0 or num_windows < 3:
            raise ValueError(
                f"every_n_steps ({every_n_steps}) and pictured_windows ({pictured_windows}) must not be negative, "
                f"num_windows ({num_windows}) be at least 3"
            )
        self.every_n_steps = every_n_steps
        self.num_windows = num_windows
        self.limits = limits
        self.pictured_windows = pictured_windows
        self.health: dict[str, float] = {}
        self._read_at: int | None = None
        self._film: Path | None = None
        self._is_off = False

    @property
    def judgement(self) -> str | None:
        """The verdict in words; None before the first reading."""
        return verdict(self.health, self.limits) if self.health else None

    def summary(self) -> dict[str, str]:
        """The last reading."""
        if self.judgement is None:
            return {}
        health = self.health
        lines = {
            "latents": f"effective rank {health['rank']:.1f}, std {health['std']:.2f}",
            "imagined": f"error {health['error_over_change']:.0%} of the change in an action chunk, "
            f"{health['error_over_change_last']:.0%} in a window; "
            f"{health['action_sensitivity']:.1f} times that with other actions",
        }
        if "state_error" in health:
            lines["state"] = f"read from latents with a mean error of {health['state_error']:.2f}"
        if self._film is not None:
            lines["film"] = f"{self._film}: imagined against real"
        return lines | {"health": self.judgement}

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        self._folder = trainer.log_dir  # a collective: all ranks must read it
        self._is_off = isinstance(trainer.strategy, ShardedStrategy)
        if self._is_off:
            rank_zero_only(print)(
                "world model health: nothing is read or drawn, since no rank has whole weights; --trainer.strategy=ddp "
                "has them"
            )

    def on_train_batch_end(
        self, trainer: Trainer, module: WorldModel, outputs: object, batch: object, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if self.every_n_steps and not self._is_off and step % self.every_n_steps == 0 and step != self._read_at:
            self._read(trainer, module)

    def on_train_end(self, trainer: Trainer, module: WorldModel) -> None:
        if self._is_off:
            return
        if trainer.global_step != self._read_at:
            self._read(trainer, module)
        if self.pictured_windows and self._folder and picture_loggers(trainer):
            self._write_film(trainer.datamodule, module, Path(self._folder, FILM))  # type: ignore[attr-defined]

    def _read(self, trainer: Trainer, module: WorldModel) -> None:
        self._read_at = trainer.global_step
        if not trainer.is_global_zero:
            return
        was_training = module.training
        module.eval()
        with torch.no_grad():
            data: EpisodeDataModule = trainer.datamodule  # type: ignore[attr-defined]
            self.health = self._health(data, module)
            loggers = picture_loggers(trainer) if self.pictured_windows else []
            pictures = [self._picture(data, module)] if loggers else []
        module.train(was_training)
        for logger in loggers:
            log_picture(logger, "imagined", pictures[0], trainer.global_step)
        log_at_end(trainer, {f"health/{name}": value for name, value in self.health.items()})

    def _health(self, data: EpisodeDataModule, module: WorldModel) -> dict[str, float]:
        train, val = data.split
        if not len(val):
            return world_model_health(self._windows(data, train, module))
        return world_model_health(self._windows(data, val, module), self._examples(data, train, module))

    def _picture(self, data: EpisodeDataModule, module: WorldModel) -> Picture:
        return imagined_picture(*self._imagined(data, module, data.num_steps), self.pictured_windows)

    @torch.no_grad()
    def _write_film(self, data: EpisodeDataModule, module: WorldModel, file: Path) -> None:
        """Longer windows than in training, but not longer than half of the episodes."""
        train, val = data.split
        lengths = data.store.lengths[val if len(val) else train] // data.frame_step
        num_steps = max(data.num_steps, min(LONGEST_FILM, int(np.median(lengths))))
        was_training = module.training
        module.eval()
        film = imagined_film(*self._imagined(data, module, num_steps), self.pictured_windows)
        module.train(was_training)
        with new_file(file) as temporary:
            encode_video(temporary, film, FILMED_PER_SECOND)
        self._film = file

    def _imagined(self, data: EpisodeDataModule, module: WorldModel, num_steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """Frames of windows of validation, latents of these, and what is imagined from each first frame."""
        train, val = data.split
        parts = [
            (batch.frames, seen, module.imagine(seen[:, 0], done, *self._known(batch, module)))
            for batch, seen, done in self._read_windows(data, val if len(val) else train, module, IN_PICTURE, num_steps)
        ]
        frames, latents, rolled = (torch.cat(each) for each in zip(*parts, strict=True))
        return frames, latents, rolled

    def _examples(self, data: EpisodeDataModule, episodes: np.ndarray, module: WorldModel) -> Examples:
        parts = [
            (seen, module.actions.normalized(done), batch.states)
            for batch, seen, done in self._read_windows(data, episodes, module)
        ]
        return Examples(*(torch.cat(each) for each in zip(*parts, strict=True)))

    def _windows(self, data: EpisodeDataModule, episodes: np.ndarray, module: WorldModel) -> Windows:
        parts = []
        for batch, seen, done in self._read_windows(data, episodes, module):
            given = self._known(batch, module)
            rolled = module.imagine(seen[:, 0], done, *given)
            # Actions of windows half a part away: those of neighbours overlap and are similar.
            by_others = module.imagine(seen[:, 0], done.roll(len(done) // 2, 0), *given)
            parts.append((seen, rolled, by_others, module.actions.normalized(done), batch.states))
        return Windows(*(torch.cat(each) for each in zip(*parts, strict=True)))

    def _known(self, batch: EpisodeBatch, module: WorldModel) -> tuple[Tensor | None, Tensor | None]:
        """States and extrinsics that a planner has: later states would show the effect of actions."""
        states, extrinsics = (
            each.to(module.device) if each.shape[-1] else None for each in (batch.states[:, :1], batch.extrinsics)
        )
        return states, extrinsics

    def _read_windows(
        self,
        data: EpisodeDataModule,
        episodes: np.ndarray,
        module: WorldModel,
        num_windows: int | None = None,
        num_steps: int | None = None,
    ) -> Iterator[tuple[EpisodeBatch, Tensor, Tensor]]:
        """In parts: windows, latents of their frames (B, T, N, D), action chunks (B, T - 1, A)."""
        num_steps = num_steps or data.num_steps
        places = WindowPlaces(data.store, episodes, num_steps, data.frame_step)
        rows = np.unique(np.linspace(0, len(places) - 1, num_windows or self.num_windows).astype(int))
        chosen, starts = places.at(rows)
        num_parts = len(rows) * num_steps // (40 * data.num_steps)  # of as many frames, whatever the length of windows
        for part in np.array_split(np.arange(len(rows)), max(1, num_parts)):
            batch = gather_windows(data.store, chosen[part], starts[part], num_steps, data.frame_step)
            frames = batch.frames.to(module.device)
            seen = module.encode_frames(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
            yield batch, seen, batch.actions.to(module.device)
