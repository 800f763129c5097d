"""What waiting threads cost: `python benchmarks/bench_threads.py [-c RECIPE] [--steps 60] [--rounds 3]`.

Runs a recipe with OpenMP's threads waiting passively (what `vjepa` sets) and actively (torch's default), on an idle
machine and beside one process that keeps a core busy, in turn. Prints clips per second and the processor-seconds of a
step, each the median over rounds and the range. On Linux; nothing else should run.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vjepa.monitoring.health.run_curves import curves_by_step
from vjepa.processors import count_processors

CURVES = ("speed/clips_per_second", "speed/processor_seconds_per_step")


@contextlib.contextmanager
def busy_core() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure(recipe: str, steps: int, policy: str) -> tuple[float, float]:
    """Median clips per second and processor-seconds per step of a run."""
    with tempfile.TemporaryDirectory() as runs:
        flags = [f"--runs={runs}", f"--trainer.max_steps={steps}", "--trainer.limit_val_batches=0"]
        flags += ["--trainer.callbacks+=vjepa.monitoring.processor_time.ProcessorTime", "--name=run"]
        subprocess.run(
            [sys.executable, "-m", "vjepa", "fit", "-c", recipe, *flags],
            env={**os.environ, "OMP_WAIT_POLICY": policy},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        curves = curves_by_step(Path(runs) / "run" / "version_0")
        speed, seconds = (statistics.median(curves[name].values()) for name in CURVES)
        return speed, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", "--config", default="configs/pretrain/synthetic.yaml")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    cases = {"idle": contextlib.nullcontext, "beside a busy core": busy_core}
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(arguments.rounds):
        for name, case in cases.items():
            for policy in ("PASSIVE", "ACTIVE"):
                with case():
                    found.setdefault((name, policy), []).append(measure(arguments.config, arguments.steps, policy))
    print(f"{count_processors()} processors\n{'machine':<20}{'waiting':<10}{'clips/s':>22}{'CPU-s per step':>24}")
    for (name, policy), rounds in found.items():
        columns = [f"{statistics.median(c):.3g} ({min(c):.3g} to {max(c):.3g})" for c in zip(*rounds, strict=True)]
        print(f"{name:<20}{policy.lower():<10}{columns[0]:>22}{columns[1]:>24}")


if __name__ == "__main__":
    main()
