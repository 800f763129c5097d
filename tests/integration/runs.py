"""Starts `vjepa` as a user does, in a process of its own, and reads what a run left."""

import atexit
import functools
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = Path(__file__).parents[2]
TIMEOUT = 300.0  # seconds


def vjepa(*arguments: str | Path, ranks: int = 0, nodes: int = 1) -> subprocess.CompletedProcess[str]:
    """Run `vjepa` in a process of its own, which starts with all modules imported (`warm_process.py`).

    With `ranks`, run it as `torchrun` does, on as many `nodes`: the first exit code that is not 0, and all that was
    said.
    """
    process, while_importing = _warm_process()
    with tempfile.NamedTemporaryFile("r") as stdout, tempfile.NamedTemporaryFile("r") as stderr:
        request = {
            "arguments": list(map(str, arguments)),
            "stdout": stdout.name,
            "stderr": stderr.name,
            "ranks": ranks,
            "nodes": nodes,
            "port": _free_port(),
            "timeout": TIMEOUT,
        }
        assert process.stdin and process.stdout
        print(json.dumps(request), file=process.stdin, flush=True)
        codes = json.loads(process.stdout.readline())
        while_importing.seek(0)
        return subprocess.CompletedProcess(
            arguments, next(filter(None, codes), 0), stdout.read(), while_importing.read() + stderr.read()
        )


def cold_vjepa(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `python -m vjepa` as a user does."""
    command = [sys.executable, "-m", "vjepa", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=_environment(), capture_output=True, text=True, timeout=TIMEOUT)


@functools.cache
def _warm_process() -> tuple[subprocess.Popen[str], IO[str]]:
    """The process, and the file of what it says on stderr while it imports."""
    stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115
    command = [sys.executable, "-m", "tests.integration.warm_process"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
    )
    atexit.register(process.communicate)  # the end of its stdin ends it
    return process, stderr


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def checkpoint(run: Path) -> dict:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def logged(run: Path, name: str) -> list[float]:
    """All values of a scalar in a run's TensorBoard events, by step; the last one where a step was written twice."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    return list({event.step: event.value for event in events.Scalars(name)}.values())
