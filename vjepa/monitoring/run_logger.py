"""The folder of a run, which no two runs share: `{runs}/{name}/version_{k}`, under SLURM `job_{number}`."""

import itertools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.environments import SLURMEnvironment  # type: ignore[attr-defined]
from lightning.pytorch.utilities import rank_zero_only

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
