"""Training runs of a comparison: each by `vjepa fit` in a process of its own, and none twice."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from vjepa.interop.loading import read_checkpoint
from vjepa.interop.recipe import read_recipe


class TrainedRun(NamedTuple):
    recipe: str
    seed: int
    steps: int
    folder: Path  # runs/compare/{name}/version_{k}

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoints" / "last.ckpt"


def trained_run(
    recipe: Path,
    steps: int,
    seed: int,
    runs: Path,
    accelerator: str,
    threads: int,
    more_flags: Mapping[str, object] = MappingProxyType({}),
    variant: str = "",  # what these flags change of the result, in the run's name
) -> TrainedRun:
    """Train a recipe, unless there is a complete run of the same recipe. Raises ValueError where training fails."""
    name = f"{recipe.stem}_{steps}_steps_seed_{seed}{variant}_{recipe_digest(recipe)}"
    folder = complete_run(runs / name, steps)
    if folder is not None:
        print(f"{recipe.stem}, seed {seed}: {folder} is complete")
        return TrainedRun(recipe.stem, seed, steps, folder)
    print(f"{recipe.stem}, seed {seed}: training for {steps} steps", flush=True)
    started = time.monotonic()
    log_every = max(1, min(10, steps // 20))
    flags = {
        "runs": runs,
        "name": name,
        "seed_everything": seed,
        "data.seed": seed,
        "trainer.max_steps": steps,
        "trainer.limit_val_batches": 0,
        "trainer.accelerator": accelerator,
        "trainer.callbacks+": "vjepa.monitoring.processor_time.ProcessorTime",
        "collapse_monitor.every_n_steps": log_every,
        "trainer.log_every_n_steps": log_every,
        **more_flags,
    }
    command = [sys.executable, "-m", "vjepa", "fit", "-c", str(recipe), *(f"--{key}={flags[key]}" for key in flags)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    folder = complete_run(runs / name, steps)
    if done.returncode or folder is None:
        last = (done.stderr.strip().splitlines() or [f"it ended with exit code {done.returncode}"])[-1]
        raise ValueError(f"training by {recipe} failed: {last.removeprefix('vjepa: error: ')}")
    print(f"{recipe.stem}, seed {seed}: trained in {time.monotonic() - started:.0f} s", flush=True)
    return TrainedRun(recipe.stem, seed, steps, folder)


def complete_run(folder: Path, steps: int) -> Path | None:
    """The newest run of this name that reached its last step."""
    for checkpoint in sorted(folder.glob("*/checkpoints/last.ckpt"), key=lambda path: -path.stat().st_mtime):
        try:
            if int(read_checkpoint(checkpoint, lazily=True).get("global_step", 0)) == steps:
                return checkpoint.parent.parent
        except ValueError:  # incomplete: it is trained again
            continue
    return None


def recipe_digest(recipe: Path) -> str:
    """Identifies the settings of a recipe, with those of its bases."""
    settings = json.dumps(read_recipe(recipe), sort_keys=True, default=str)
    return hashlib.sha256(settings.encode()).hexdigest()[:8]
