"""V-JEPA 2, V-JEPA 2.1, LeVJEPA and many views in small, each given the same number of floating-point operations.

    python benchmarks/equal_flops.py [--steps 150] [--seeds 0 1 2] [--output docs/results/equal_flops.csv]

The budget is what so many steps of the default recipe take. A step of each recipe is counted by torch's FlopCounterMode
(attention written out, since the fused kernel of a CPU is not counted), and each is trained for the number of steps
that comes nearest, a tenth of them warm-up, on the embedded dataset (`make data`). Frozen encoders are scored on the
test clips by nearest neighbours and the linear probe of configs/probe/synthetic.yaml, with 20 labels a class and all.
"""

import argparse
import csv
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import vjepa  # noqa: F401 (before Lightning: it repairs torchvision beside a CPU build of torch)

# isort: split
from lightning.pytorch import Callback
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vjepa.data.clips.labelled_clips import LabelledClips
from vjepa.evaluation.comparison.comparison import Probing, Subject, untrained
from vjepa.evaluation.comparison.training import TrainedRun, trained_run
from vjepa.evaluation.probes.sweep import Sweep
from vjepa.interop.recipe import read_recipe
from vjepa.interop.run_folder import read_run
from vjepa.monitoring.health.run_curves import curves_by_step

RECIPES = {
    "default": "synthetic",
    "many views alone": "synthetic_views",
    "LeVJEPA": "synthetic_levjepa",
    "V-JEPA 2": "synthetic_ema",
    "V-JEPA 2.1": "synthetic_2_1",
}
# V-JEPA 2 predicts every clip, five times the cost of a step of views: smaller batches give it steps enough to learn.
FLAGS: dict[str, dict[str, object]] = {"V-JEPA 2": {"data.global_batch_size": 16}}
COUNTED = "floating-point operations of a step:"


class CountOperations(Callback):
    """Prints the floating-point operations of the first step, forward and backward."""

    def on_train_batch_start(self, *unused: object) -> None:
        self.counter, self.attention = FlopCounterMode(display=False), sdpa_kernel(SDPBackend.MATH)
        self.attention.__enter__()
        self.counter.__enter__()

    def on_train_batch_end(self, *unused: object) -> None:
        self.counter.__exit__(None, None, None)
        self.attention.__exit__(None, None, None)
        print(COUNTED, self.counter.get_total_flops())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150, help="of the default recipe: the budget")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs/equal_flops"))
    parser.add_argument("--output", type=Path, default=Path("docs/results/equal_flops.csv"))
    arguments = parser.parse_args()
    recipes = {name: Path(f"configs/pretrain/{RECIPES[name]}.yaml") for name in arguments.only}
    costs = {
        name: operations_of_a_step(recipe, arguments.runs, FLAGS.get(name, {})) for name, recipe in recipes.items()
    }
    budget = arguments.steps * (costs.get("default") or operations_of_a_step(default_recipe(), arguments.runs, {}))
    rows = []
    for name, recipe in recipes.items():
        steps = max(1, round(budget / costs[name]))
        print(f"{name}: {costs[name] / 1e9:.1f} GFLOP a step, {steps} steps", flush=True)
        flags = {"model.learning_rate.warmup_steps": max(1, steps // 10), **FLAGS.get(name, {})}
        runs = [
            trained_run(recipe, steps, seed, arguments.runs, "cpu", arguments.threads, flags, "_equal_flops")
            for seed in arguments.seeds
        ]
        rows += scored(name, recipe, runs, arguments.runs)
        write(rows, arguments.output)
    print(f"{arguments.output} is written")


def default_recipe() -> Path:
    return Path(f"configs/pretrain/{RECIPES['default']}.yaml")


def operations_of_a_step(recipe: Path, runs: Path, flags: Mapping[str, object]) -> int:
    command = [sys.executable, "-m", "vjepa", "fit", "-c", str(recipe), f"--runs={runs}", "--name=counted"]
    command += [
        "--trainer.max_steps=1",
        "--trainer.limit_val_batches=0",
        "--trainer.callbacks+=equal_flops.CountOperations",
    ]
    command += [f"--{key}={value}" for key, value in flags.items()]
    environment = os.environ | {"PYTHONPATH": f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}"}
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return int(next(line for line in printed.splitlines() if line.startswith(COUNTED)).rpartition(" ")[2])


def scored(name: str, recipe: Path, runs: Sequence[TrainedRun], folder: Path) -> list[dict[str, object]]:
    """A row for each run, and one for the recipe's untrained encoder."""
    settings = read_recipe(Path("configs/probe/synthetic.yaml"))
    clips = LabelledClips(**settings["data"])
    sweep = Sweep(**{**settings["sweep"], "heads": ("linear",)})
    probing = Probing(clips, sweep, [20, "all"], folder / "features", "cpu", settings["pooled_cells"])
    subjects = [Subject(str(run.seed), read_run(run.checkpoint).encoder(), run.folder) for run in runs]
    measured = probing.measure([*subjects, untrained("untrained", recipe, 0, folder)])
    rows: list[dict[str, object]] = []
    for subject, run in zip(measured, [*runs, None], strict=True):
        seconds = [*curves_by_step(run.folder).get("speed/processor_seconds_per_step", {}).values()] if run else []
        cost = round(seconds[-1] * run.steps) if run and seconds else ""
        accuracies = {probe: round(100 * value, 1) for probe, value in measured[subject].accuracies.items()}
        rows.append(
            {"recipe": name, "seed": subject, "steps": run.steps if run else 0, "processor_seconds": cost, **accuracies}
        )
        print(rows[-1], flush=True)
    return rows


def write(rows: Sequence[dict[str, object]], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
