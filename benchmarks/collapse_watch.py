"""Does the collapse watch notice sick runs, leave healthy ones alone, and cost next to nothing?

    python benchmarks/collapse_watch.py [--steps 150] [--batch 16] [--only NAME ...]
    python benchmarks/collapse_watch.py --cost [--rounds 9]

The first trains 10 runs that are made to collapse and 10 that are not, on the embedded dataset (`make data`), and
prints the verdict of each with the share of the run at which it came first. Warm-up and the interval of readings are
shortened with the run: a tenth of its steps, 50 readings. Momentum 0 alone does not collapse in so few steps, so those
runs have a larger learning rate, too. Beside the default recipe the healthy ones are those without a moving average, at
a learning rate of 3e-4: at their recipes' own rate they collapse in such small batches.

The second times steps of the default recipe, in blocks as long as the default interval (one reading each), in turn with
and without the watch: the median of how much more processor time a block with it took, and what a reading takes alone.
"""

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import vjepa  # noqa: F401 (before Lightning: it repairs torchvision beside a CPU build of torch)

# isort: split
import torch
from lightning.pytorch import Callback

from vjepa.cli.main import main as run_command
from vjepa.cli.training import TrainingCLI
from vjepa.monitoring import CollapseMonitor
from vjepa.monitoring.health.collapse_watch import Verdict
from vjepa.monitoring.health.run_curves import curves_by_step

RECIPES = Path("configs/pretrain")
NO_AGREEMENT = ("--model.terms.agreement=null",)
NO_MOMENTUM = (*NO_AGREEMENT, "--model.momentum.peak=0", "--model.momentum.end=0", "--model.learning_rate.peak=3e-2")
HUGE_RATE = ("--model.learning_rate.peak=0.1",)
SMALL_RATE = ("--model.learning_rate.peak=3e-4",)
NARROW = ("--model.encoder.embed_dim=48",)


class Run(NamedTuple):
    name: str
    recipe: str
    flags: tuple[str, ...] = ()
    seed: int = 0


SICK = (
    Run("self targets, seed 0", "synthetic_collapsing"),
    Run("self targets, seed 1", "synthetic_collapsing", seed=1),
    Run("self targets, seed 2", "synthetic_collapsing", seed=2),
    Run("self targets, narrow", "synthetic_collapsing", NARROW),
    Run("momentum 0, seed 0", "synthetic_agreement", NO_MOMENTUM),
    Run("momentum 0, seed 1", "synthetic_agreement", NO_MOMENTUM, seed=1),
    Run("momentum 0, narrow", "synthetic_agreement", (*NO_MOMENTUM, *NARROW)),
    Run("huge rate, seed 0", "synthetic_agreement", (*NO_AGREEMENT, *HUGE_RATE)),
    Run("huge rate, seed 1", "synthetic_agreement", (*NO_AGREEMENT, *HUGE_RATE), seed=1),
    Run("huge rate, narrow", "synthetic_agreement", (*NO_AGREEMENT, *HUGE_RATE, *NARROW)),
)
HEALTHY = (
    *(Run(f"default, seed {seed}", "synthetic", seed=seed) for seed in range(3)),
    Run("prediction alone", "synthetic_agreement", NO_AGREEMENT),
    *(Run(f"vicreg, seed {seed}", "synthetic_no_ema_vicreg", SMALL_RATE, seed) for seed in range(2)),
    *(Run(f"sigreg, seed {seed}", "synthetic_sigreg", SMALL_RATE, seed) for seed in range(2)),
    *(Run(f"barlow, seed {seed}", "synthetic_barlow_twins", SMALL_RATE, seed) for seed in range(2)),
)


def main() -> None:
    arguments = parsed()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as temporary:
        runs = arguments.runs or Path(temporary)
        if arguments.cost:
            print_cost(runs, arguments)
        else:
            print_verdicts(runs, arguments)


def print_verdicts(runs: Path, arguments: argparse.Namespace) -> None:
    print("| run | verdict at the end | not healthy from | collapsed from | seconds |\n|---|---|---|---|---|")
    found: dict[str, list[tuple[float | None, float | None]]] = {"sick": [], "healthy": []}
    for kind, of_kind in {"sick": SICK, "healthy": HEALTHY}.items():
        for run in of_kind:
            if arguments.only and run.name not in arguments.only:
                continue
            started = time.monotonic()
            verdicts = verdicts_of(train(run, runs, arguments))
            ill, collapsed = (
                first_share(verdicts, least, arguments.steps) for least in (Verdict.TEACHER_LAGGING, Verdict.COLLAPSED)
            )
            found[kind].append((ill, collapsed))
            last = Verdict(int(verdicts[-1][1])).words if verdicts else "none"
            print(
                f"| {kind}: {run.name} | {last} | {in_words(ill)} | {in_words(collapsed)} | "
                f"{time.monotonic() - started:.0f} |",
                flush=True,
            )
    sick, healthy = found["sick"], found["healthy"]
    for name, place in {"called sick": 0, "called collapsed": 1}.items():
        shares = [run[place] for run in sick if run[place] is not None]
        early = sum(share <= 0.2 for share in shares)
        print(
            f"{name}: {len(shares)} of {len(sick)} sick runs, {early} within the first 20 %; "
            f"{sum(run[place] is not None for run in healthy)} of {len(healthy)} healthy ones"
        )


def train(run: Run, runs: Path, arguments: argparse.Namespace) -> Path:
    """The run's folder."""
    name = run.name.replace(", ", "_").replace(" ", "_")
    flags = (
        f"--runs={runs}",
        f"--name={name}",
        f"--seed_everything={run.seed}",
        f"--data.seed={run.seed}",
        f"--data.global_batch_size={arguments.batch}",
        "--data.num_workers=0",
        f"--trainer.max_steps={arguments.steps}",
        "--trainer.limit_val_batches=0",
        f"--checkpoint.every_n_steps={arguments.steps}",
        "--online_probe.every_n_steps=0",
        "--pictures.every_n_steps=0",
        f"--collapse_monitor.every_n_steps={max(1, arguments.steps // 50)}",
        f"--model.learning_rate.warmup_steps={max(1, arguments.steps // 10)}",
    )
    with contextlib.redirect_stdout(io.StringIO()):
        run_command(["fit", "-c", str(RECIPES / f"{run.recipe}.yaml"), *flags, *run.flags])
    return max((runs / name).glob("version_*"), key=lambda folder: folder.stat().st_mtime)


def verdicts_of(folder: Path) -> list[tuple[int, float]]:  # step, verdict
    return [*curves_by_step(folder)["health/verdict"].items()]


def first_share(verdicts: list[tuple[int, float]], least: Verdict, steps: int) -> float | None:
    return next((step / steps for step, verdict in verdicts if verdict >= least), None)


def in_words(share: float | None) -> str:
    return "never" if share is None else f"{share:.0%}"


class Blocks(Callback):
    """Times blocks of steps, in turn with the monitor turned on and off. `last` is called after all other callbacks."""

    def __init__(self, block: int):
        self.block = block
        self.seconds: dict[bool, list[float]] = {True: [], False: []}
        self.in_block = 0.0
        self.readings: list[float] = []  # processor time of each
        self.monitor: CollapseMonitor | None = None

    def on_train_start(self, trainer, module) -> None:
        self.monitor = next(each for each in trainer.callbacks if isinstance(each, CollapseMonitor))
        read = self.monitor._read

        def timed(*arguments) -> None:
            started = time.process_time()
            read(*arguments)
            self.readings.append(time.process_time() - started)

        self.monitor._read = timed  # type: ignore[method-assign]

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        if trainer.global_step % self.block == 0:
            self.monitor.every_n_steps = self.block if trainer.global_step // self.block % 2 else 0
        self.started = time.process_time()

    def step_ended(self, trainer) -> None:
        self.in_block += time.process_time() - self.started
        if trainer.global_step % self.block == 0:
            self.seconds[self.monitor.every_n_steps > 0].append(self.in_block)
            self.in_block = 0.0


class LastCallback(Callback):
    def __init__(self, blocks: Blocks):
        self.blocks = blocks

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self.blocks.step_ended(trainer)


def print_cost(runs: Path, arguments: argparse.Namespace) -> None:
    block = CollapseMonitor().every_n_steps
    blocks = Blocks(block)
    instantiate = TrainingCLI.instantiate_trainer

    def instantiate_with_timers(self, **settings):
        trainer = instantiate(self, **settings)
        trainer.callbacks = [blocks, *trainer.callbacks, LastCallback(blocks)]
        return trainer

    TrainingCLI.instantiate_trainer = instantiate_with_timers  # type: ignore[method-assign]
    # The first two blocks warm up, and are left out.
    steps = 2 * block * (arguments.rounds + 1)
    flags = ["--trainer.limit_val_batches=0", "--online_probe.every_n_steps=0", "--pictures.every_n_steps=0"]
    flags += [f"--runs={runs}", "--name=cost", f"--trainer.max_steps={steps}", "--data.num_workers=0"]
    flags += [f"--data.global_batch_size={arguments.batch}", f"--checkpoint.every_n_steps={10 * steps}"]
    with contextlib.redirect_stdout(io.StringIO()):
        run_command(["fit", "-c", str(RECIPES / "synthetic.yaml"), *flags])
    without, watched = blocks.seconds[False][1:], blocks.seconds[True][1:]
    ratios = [with_it / without_it - 1 for with_it, without_it in zip(watched, without, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    reading = statistics.median(blocks.readings)
    print(
        f"processor time of {block} steps of {arguments.batch} clips: {statistics.median(without):.3f} s without, "
        f"{statistics.median(watched):.3f} s with the watch; median of {len(ratios)} pairs "
        f"{statistics.median(ratios):+.2%} (quartiles {low:+.2%} to {high:+.2%}); a reading alone takes "
        f"{1000 * reading:.1f} ms, {reading / statistics.median(without):.2%} of a block"
    )


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--only", nargs="+", help="names of runs, as in the table")
    parser.add_argument("--cost", action="store_true", help="time steps with and without the watch instead")
    parser.add_argument("--rounds", type=int, default=9, help="pairs of blocks that are timed")
    parser.add_argument("--runs", type=Path, help="folder that runs are kept in; thrown away if not given")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
