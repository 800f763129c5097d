"""The loggers of a run and its folder, which no two runs share: `{runs}/{name}/version_{k}`, under SLURM `job_{n}`."""

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import UInt8
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.plugins.environments import SLURMEnvironment  # type: ignore[attr-defined]
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from vjepa.data.atomic_file import new_file

WITH_FOLDER = (TensorBoardLogger, CSVLogger)  # whose folder is that of the run
WITH_PICTURES = (*WITH_FOLDER, MLFlowLogger, WandbLogger)
EXPERIMENT = ("model", "data", "seed_everything")  # sections of config.yaml by which a requeued run knows its folder


class RunLogger(TensorBoardLogger):
    """TensorBoard's files in the folder of a run.

    Args:
        runs, name: the folder is in `{runs}/{name}`.
        version: its name; a new one if None. Rank 0 makes it when it is first asked for, so that two runs that start
            at the same time get two. Other ranks get its name from Lightning (`Trainer.log_dir`).
    """

    def __init__(self, runs: Path, name: str, version: str | None = None):
        super().__init__(runs, name, version, default_hp_metric=False)

    @property
    def version(self) -> str:
        if self._version is None:
            self._version = _new_folder(Path(self.root_dir))
        return str(self._version)


def with_run_folder(own: RunLogger, given: Logger | Iterable[Logger]) -> list[Logger]:
    """The loggers of `--trainer.logger`, after the run's own unless the first of them has a folder for the run."""
    loggers = [given] if isinstance(given, Logger) else list(given)
    return loggers if loggers and isinstance(loggers[0], WITH_FOLDER) else [own, *loggers]


def log_picture(logger: Logger, name: str, picture: UInt8[np.ndarray, "rows columns 3"], step: int) -> None:
    """Hand a picture to a logger; CSVLogger has it as `pictures/{name}_step_{step}.png`. Others have none."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(f"pictures/{name}", picture, step, dataformats="HWC")
    elif isinstance(logger, WandbLogger):
        logger.log_image(f"pictures/{name}", [picture], step)
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_image(logger.run_id, picture, key=f"pictures/{name}", step=step)
    elif isinstance(logger, CSVLogger):
        file = Path(logger.log_dir, "pictures", f"{name}_step_{step}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        with new_file(file) as temporary:
            Image.fromarray(picture).save(temporary, format="png")


def picture_loggers(trainer: Trainer) -> list[Logger]:
    """Where pictures can go; none but on rank 0."""
    return [logger for logger in trainer.loggers if isinstance(logger, WITH_PICTURES) and trainer.is_global_zero]


def is_requeued() -> bool:
    """Whether SLURM has started this job before."""
    return SLURMEnvironment.detect() and int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0


def requeued_folder(folder: Path, settings: Mapping[str, Any]) -> Path | None:
    """The folder of this job in a folder of runs that trains the same model on the same data, the newest if several."""
    mine = {name: settings.get(name) for name in EXPERIMENT}
    of_job = [each for each in folder.glob("job_*") if each.name.partition("-")[0] == _job()]
    for version in sorted(of_job, key=lambda each: each.stat().st_mtime, reverse=True):
        file = version / "config.yaml"
        content = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else None
        if content and {name: content.get(name) for name in EXPERIMENT} == mine:
            return version
    return None


def _job() -> str | None:
    return f"job_{os.environ['SLURM_JOB_ID']}" if SLURMEnvironment.detect() else None


def _names(folder: Path) -> Iterator[str]:
    if job := _job():
        yield job
        yield from (f"{job}-{number}" for number in itertools.count(2))
    numbers = [each.name.removeprefix("version_") for each in folder.glob("version_*")]
    first = max((int(number) + 1 for number in numbers if number.isdecimal()), default=0)
    yield from (f"version_{number}" for number in itertools.count(first))


def _new_folder(folder: Path) -> str:
    for name in _names(folder):
        if rank_zero_only.rank:  # type: ignore[attr-defined]
            return name
        try:
            (folder / name).mkdir(parents=True)
        except FileExistsError:  # another run's
            continue
        return name
    raise AssertionError("names have no end")
