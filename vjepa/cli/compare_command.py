"""`vjepa compare`: one encoder under several objectives, with equal steps: one table, and pictures of why."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

from vjepa.cli.parser import run_by_recipe
from vjepa.cli.side_by_side import side_by_side
from vjepa.data.atomic_file import new_file
from vjepa.data.labelled_clips import LabelledClips
from vjepa.evaluation.comparison import (
    RANDOM,
    Measured,
    Probing,
    TrainedRun,
    complete_run,
    decoded,
    keep_measured,
    measured_before,
    page,
)
from vjepa.evaluation.comparison_pictures import draw_collapse, draw_fork, draw_latents, require_matplotlib
from vjepa.evaluation.fork_comparison import compare_on_forks
from vjepa.evaluation.frozen_evaluation import Amount
from vjepa.evaluation.probe import Sweep
from vjepa.evaluation.run_curves import curves_by_step
from vjepa.interop.recipe import read_recipe
from vjepa.interop.run_folder import read_run
from vjepa.models import VideoEncoder

RECIPES = [
    Path(f"configs/pretrain/{name}.yaml")
    for name in (
        "synthetic",
        "synthetic_ema",
        "synthetic_pixels",
        "synthetic_no_ema_vicreg",
        "synthetic_barlow_twins",
        "synthetic_sigreg",
        "synthetic_collapsing",
    )
]
COLLAPSE = {
    "effective rank of targets": "health/target_rank",
    "std of targets": "health/target_std",
    "training loss": "train/loss",
}


def compare(
    data: LabelledClips,
    recipes: list[Path] = RECIPES,
    steps: int = 200,
    seeds: list[int] = [0],  # noqa: B006 (read only)
    sweep: Sweep = Sweep(),  # noqa: B008 (frozen)
    labels_per_class: list[Amount] = [20, "all"],  # noqa: B006 (read only)
    fork_steps: int = 300,
    decoder_steps: int = 150,
    runs: Path = Path("runs/compare"),
    output: Path = Path("docs/compare.md"),
    pictures: Path | None = None,
    accelerator: str = "auto",
    at_once: int = 2,
) -> None:
    """Train each recipe for as many steps, probe the frozen encoders on motion, and write a page with pictures.

    Runs that are complete are not trained again, nor probed again.

    Args:
        data: labelled clips that frozen encoders are probed on, as for `vjepa probe`.
        recipes: of `vjepa fit`; the picture of collapse shows the last one beside the first.
        steps: of each run.
        seeds: of weights and clips; each is a run of its own for each recipe.
        sweep: heads and how they are trained.
        labels_per_class: labelled clips of each class; below 1 the share of each class; or "all".
        fork_steps: that the pixel and the latent model of the fork are trained for.
        decoder_steps: of the decoders that show what embeddings hold.
        runs: folder of the runs.
        output: the page.
        pictures: folder of its pictures; `pictures` beside the page if None.
        accelerator: as for Lightning's trainer.
        at_once: runs that are trained and probed side by side, each with its share of the processor's cores: networks
            this small gain little from threads (two at once take little longer than one on both cores). 1 for one
            accelerator.
    """
    started = time.monotonic()
    _check(recipes, steps, seeds, fork_steps, decoder_steps, at_once)
    require_matplotlib()  # before half an hour of training, not after
    pictures = pictures or output.parent / "pictures"
    probing = Probing(data, sweep, labels_per_class, runs / "features", accelerator)
    threads = max(1, (os.cpu_count() or 1) // at_once)
    print(f"a ball at a fork, {fork_steps} steps of two models; then {steps} steps by each recipe, and its probes")
    with side_by_side(at_once, threads) as pool:
        of_fork = pool.submit(compare_on_forks, fork_steps, decoder_steps)
        of_runs = [
            pool.submit(_trained_and_measured, recipe, steps, seed, runs, probing, threads)
            for recipe in recipes
            for seed in seeds
        ]
        of_random = [pool.submit(_random_weights, recipes[0], seed, runs, probing) for seed in seeds]
        try:
            outcomes = [job.result() for job in of_runs]
            rows: dict[str, list[Measured]] = {}
            for run, measured in outcomes:
                rows.setdefault(run.recipe, []).append(measured)
            rows[RANDOM] = [job.result() for job in of_random]
            fork = of_fork.result()
            trained = [run for run, _ in outcomes]
            print(f"decoders of frozen tokens, {decoder_steps} steps each")
            of_decoders = {
                run.recipe: pool.submit(decoded, read_run(run.checkpoint).encoder(), data, decoder_steps)
                for run in trained[:: len(seeds)]
            }
            decoders = {recipe: job.result() for recipe, job in of_decoders.items()}
        except ValueError:
            pool.shutdown(cancel_futures=True)  # what has not begun shall not
            raise
    draw_fork(fork, pictures / "compare_fork.png")
    sick_and_healthy = {run.recipe: curves_by_step(run.folder) for run in (trained[-len(seeds)], trained[0])}
    draw_collapse(
        {
            title: {recipe: curves.get(name, {}) for recipe, curves in sick_and_healthy.items()}
            for title, name in COLLAPSE.items()
        },
        pictures / "compare_collapse.png",
    )
    draw_latents(decoders, pictures / "compare_latents.png")

    text = page(
        rows,
        {recipe.stem: _about(recipe) for recipe in recipes},
        _command(recipes, steps, seeds),
        steps,
        seeds,
        _untrained(recipes[0]).embed_dim,
        1 / len(data.class_names),
        fork,
        {name: seen.error for name, seen in decoders.items()},
        {
            name: os.path.relpath(pictures / f"compare_{name}.png", output.parent)
            for name in ("fork", "collapse", "latents")
        },
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    with new_file(output) as temporary:
        temporary.write_text(text)
    print(f"{output} is written, after {time.monotonic() - started:.0f} s")


def trained_run(recipe: Path, steps: int, seed: int, runs: Path, accelerator: str, threads: int) -> TrainedRun:
    """Train a recipe by `vjepa fit`, in a process of its own, unless that was done before.

    A recipe that has been changed since is another run. Raises ValueError where training fails.
    """
    name = f"{recipe.stem}_{steps}_steps_seed_{seed}_{_digest(recipe)}"
    folder = complete_run(runs / name, steps)
    if folder is not None:
        print(f"{recipe.stem}, seed {seed}: {folder} is complete")
        return TrainedRun(recipe.stem, seed, folder)
    print(f"{recipe.stem}, seed {seed}: training for {steps} steps", flush=True)
    started = time.monotonic()
    often = max(1, min(10, steps // 20))
    flags = {
        "runs": runs,
        "name": name,
        "seed_everything": seed,
        "data.seed": seed,
        "trainer.max_steps": steps,
        "trainer.limit_val_batches": 0,
        "trainer.accelerator": accelerator,
        "trainer.callbacks+": "vjepa.callbacks.processor_time.ProcessorTime",
        "collapse_monitor.every_n_steps": often,
        "trainer.log_every_n_steps": often,
    }
    command = [sys.executable, "-m", "vjepa", "fit", "-c", str(recipe), *(f"--{key}={flags[key]}" for key in flags)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    folder = complete_run(runs / name, steps)
    if done.returncode or folder is None:
        last = (done.stderr.strip().splitlines() or [f"it ended with exit code {done.returncode}"])[-1]
        raise ValueError(f"training by {recipe} failed: {last.removeprefix('vjepa: error: ')}")
    print(f"{recipe.stem}, seed {seed}: trained in {time.monotonic() - started:.0f} s", flush=True)
    return TrainedRun(recipe.stem, seed, folder)


def _trained_and_measured(
    recipe: Path, steps: int, seed: int, runs: Path, probing: Probing, threads: int
) -> tuple[TrainedRun, Measured]:
    run = trained_run(recipe, steps, seed, runs, probing.accelerator, threads)
    return run, measured_run(run, probing)


def measured_run(run: TrainedRun, probing: Probing) -> Measured:
    """What a trained encoder is worth, from the run's folder if it was measured before."""
    before = measured_before(run.folder, probing)
    if before is not None:
        return before
    measured = probing.measure(read_run(run.checkpoint).encoder(), f"{run.recipe}, seed {run.seed}")
    seconds = [*curves_by_step(run.folder).get("speed/processor_seconds_per_step", {}).values()]
    measured = measured._replace(processor_seconds=seconds[-1] if seconds else None)
    keep_measured(run.folder, probing, measured)
    return measured


def _random_weights(recipe: Path, seed: int, runs: Path, probing: Probing) -> Measured:
    """A recipe's encoder as it is before training."""
    folder = runs / f"{recipe.stem}_untrained_seed_{seed}_{_digest(recipe)}"
    before = measured_before(folder, probing)
    if before is not None:
        return before
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = _untrained(recipe)
    measured = probing.measure(encoder, f"{RANDOM}, seed {seed}")
    keep_measured(folder, probing, measured)
    return measured


def _untrained(recipe: Path) -> VideoEncoder:
    return VideoEncoder(**read_recipe(recipe).encoder)


def _digest(recipe: Path) -> str:
    """A recipe that has been changed has another."""
    return hashlib.sha256(recipe.read_bytes()).hexdigest()[:8]


def _check(
    recipes: list[Path], steps: int, seeds: list[int], fork_steps: int, decoder_steps: int, at_once: int
) -> None:
    counts = {"steps": steps, "fork_steps": fork_steps, "decoder_steps": decoder_steps, "at_once": at_once}
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} ({count}) must be at least 1")
    if not recipes or not seeds:
        raise ValueError("there is nothing to compare; give at least one of recipes and of seeds")
    missing = [str(recipe) for recipe in recipes if not recipe.is_file()]
    if missing:
        raise ValueError(f"there is no recipe {', '.join(missing)}; recipes are in configs/pretrain")
    names = [recipe.stem for recipe in recipes]
    if len(set(names)) < len(names) or len(set(seeds)) < len(seeds):
        raise ValueError(f"recipes ({', '.join(names)}) and seeds ({seeds}) must each have names of their own")


def _about(recipe: Path) -> str:
    """The first line of a recipe's header."""
    first = recipe.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else str(recipe)


def _command(recipes: list[Path], steps: int, seeds: list[int]) -> str:
    named = "" if recipes == RECIPES else f" --recipes=[{','.join(map(str, recipes))}]"
    return f'make compare ARGS="--steps={steps} --seeds={str(seeds).replace(" ", "")}{named}"'


def run_compare_command(arguments: list[str]) -> None:
    """Parse and run `vjepa compare`."""
    run_by_recipe(compare, arguments, "vjepa compare", "Train one encoder under several objectives, and compare.")
