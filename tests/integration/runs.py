"""Starts `vjepa` as a user does, in a process of its own, and reads what a run left."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = Path(__file__).parents[2]


def vjepa(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "vjepa", *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def checkpoint(run: Path) -> dict:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def logged(run: Path, name: str) -> list[float]:
    """All values of a scalar in a run's TensorBoard events, by step; the last one where a step was written twice."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    return list({event.step: event.value for event in events.Scalars(name)}.values())
