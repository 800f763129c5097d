"""`vjepa compare`: one encoder under several objectives, with equal steps: one table, and pictures of why."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from vjepa.cli.parser import run_by_recipe
from vjepa.data.atomic_file import new_file
from vjepa.data.clips.labelled_clips import LabelledClips
from vjepa.evaluation.comparison.comparison import (
    RANDOM,
    Measured,
    Probing,
    Subject,
    TrainedRun,
    complete_run,
    decoded,
    page,
)
from vjepa.evaluation.comparison.fork import compare_on_forks
from vjepa.evaluation.comparison.pictures import draw_collapse, draw_fork, draw_latents
from vjepa.evaluation.comparison.side_by_side import side_by_side
from vjepa.evaluation.figures import require_matplotlib
from vjepa.evaluation.probes.frozen_evaluation import Amount
from vjepa.evaluation.probes.sweep import Sweep
from vjepa.interop.recipe import read_recipe
from vjepa.interop.run_folder import read_run, read_settings
from vjepa.models import VideoEncoder
from vjepa.monitoring.health.run_curves import curves_by_step

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
MOST_AT_A_PASS = 6  # encoders
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
    fork_steps: int = 200,
    decoder_steps: int = 100,
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
    print(f"a ball at a fork, {fork_steps} steps of two models; then {steps} steps by each recipe; probes and decoders")
    with side_by_side(at_once, threads) as pool:
        of_fork = pool.submit(compare_on_forks, fork_steps, decoder_steps)
        of_runs = [
            pool.submit(trained_run, recipe, steps, seed, runs, accelerator, threads)
            for recipe in recipes
            for seed in seeds
        ]
        try:
            trained = [job.result() for job in of_runs]
            subjects = [*map(_trained, trained), *(_untrained(recipes[0], seed, runs) for seed in seeds)]
            of_probes = [pool.submit(probing.measure, group) for group in _dealt(subjects, at_once)]
            encoders = [subject.encoder for subject in subjects[: len(trained) : len(seeds)]]
            of_decoders = [
                pool.submit(decoded, dict(group), data, decoder_steps)
                for group in _dealt([*zip((recipe.stem for recipe in recipes), encoders, strict=True)], at_once)
            ]
            measured = {name: each for job in of_probes for name, each in job.result().items()}
            decoders = {name: each for job in of_decoders for name, each in job.result().items()}
            fork = of_fork.result()
        except ValueError:
            pool.shutdown(cancel_futures=True)  # what has not begun shall not
            raise
    rows: dict[str, list[Measured]] = {}
    for run in trained:
        of_run = measured[_name(run.recipe, run.seed)]
        rows.setdefault(run.recipe, []).append(of_run._replace(processor_seconds=_processor_seconds(run)))
    rows[RANDOM] = [measured[_name(RANDOM, seed)] for seed in seeds]
    draw_fork(fork, pictures / "compare_fork.png")
    sick_and_healthy = {run.recipe: curves_by_step(run.folder) for run in (trained[-len(seeds)], trained[0])}
    draw_collapse(
        {
            title: {recipe: curves.get(name, {}) for recipe, curves in sick_and_healthy.items()}
            for title, name in COLLAPSE.items()
        },
        pictures / "compare_collapse.png",
    )
    draw_latents({recipe.stem: decoders[recipe.stem] for recipe in recipes}, pictures / "compare_latents.png")

    text = page(
        rows,
        {recipe.stem: _about(recipe) for recipe in recipes},
        _command(recipes, steps, seeds),
        steps,
        seeds,
        encoders[0].embed_dim,
        1 / len(data.class_names),
        fork,
        {recipe.stem: decoders[recipe.stem].error for recipe in recipes},
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
        "trainer.callbacks+": "vjepa.monitoring.processor_time.ProcessorTime",
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


def _name(row: str, seed: int) -> str:
    return f"{row}, seed {seed}"


def _trained(run: TrainedRun) -> Subject:
    return Subject(_name(run.recipe, run.seed), read_run(run.checkpoint).encoder(), run.folder)


def _untrained(recipe: Path, seed: int, runs: Path) -> Subject:
    """A recipe's encoder as it is before training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = VideoEncoder(**read_settings(recipe).encoder)
    return Subject(_name(RANDOM, seed), encoder, runs / f"{recipe.stem}_untrained_seed_{seed}_{_digest(recipe)}")


def _dealt(items: list[Any], at_once: int) -> list[list[Any]]:
    """Groups that share a pass over the clips: one for each process, or more, so that a stop loses little."""
    size = min(MOST_AT_A_PASS, -(-len(items) // at_once))
    return [items[start : start + size] for start in range(0, len(items), size)]


def _processor_seconds(run: TrainedRun) -> float | None:
    """Of a training step."""
    seconds = [*curves_by_step(run.folder).get("speed/processor_seconds_per_step", {}).values()]
    return seconds[-1] if seconds else None


def _digest(recipe: Path) -> str:
    """Identifies the settings of a recipe, with those of its bases."""
    settings = json.dumps(read_recipe(recipe), sort_keys=True, default=str)
    return hashlib.sha256(settings.encode()).hexdigest()[:8]


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
