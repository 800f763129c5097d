"""`vjepa compare`: one encoder trained with several objectives for equal steps: a table, and pictures of why."""

import os
import time
from pathlib import Path
from typing import Any, TypeVar

from vjepa.cli.parser import run_by_recipe
from vjepa.data.atomic_file import write_text
from vjepa.data.clips.labelled_clips import LabelledClips
from vjepa.evaluation.comparison.comparison import (
    NUM_CLIPS_FOR_HEALTH,
    RANDOM,
    Probing,
    Subject,
    decoded,
    first_clips,
    untrained,
)
from vjepa.evaluation.comparison.correlation import correlations
from vjepa.evaluation.comparison.cost import scores_over_training
from vjepa.evaluation.comparison.fork import compare_on_forks
from vjepa.evaluation.comparison.page import Comparison, page
from vjepa.evaluation.comparison.pictures import draw_collapse, draw_correlations, draw_cost, draw_fork, draw_latents
from vjepa.evaluation.comparison.side_by_side import side_by_side
from vjepa.evaluation.comparison.training import TrainedRun, trained_run
from vjepa.evaluation.figures import require_matplotlib
from vjepa.evaluation.probes.frozen_evaluation import CLASSES, Amount, describe
from vjepa.evaluation.probes.sweep import Sweep
from vjepa.interop.networks import whole_settings
from vjepa.interop.recipe import find_recipe
from vjepa.interop.run_folder import read_run, read_settings
from vjepa.models import VideoEncoder
from vjepa.monitoring.health.run_curves import curves_by_step
from vjepa.processors import count_processors

RECIPES = [
    Path(f"configs/pretrain/{name}.yaml")
    for name in (
        "synthetic",
        "synthetic_views",
        "synthetic_agreement",
        "synthetic_ema",
        "synthetic_pixels",
        "synthetic_no_ema_vicreg",
        "synthetic_barlow_twins",
        "synthetic_sigreg",
        "synthetic_levjepa",
        "synthetic_collapsing",
    )
]
MOST_ENCODERS = 6  # in one pass over the clips
COLLAPSE = {
    "effective rank of targets": "health/target_rank",
    "std of targets": "health/target_std",
    "training loss": "train/loss",
}

T = TypeVar("T")


def compare(
    data: LabelledClips,
    recipes: list[Path] = RECIPES,
    steps: int = 200,
    seeds: list[int] = [0],  # noqa: B006 (read only)
    pooled_cells: int | None = None,
    sweep: Sweep = Sweep(),  # noqa: B008 (frozen)
    labels_per_class: list[Amount] = [20, "all"],  # noqa: B006 (read only)
    fork_steps: int = 800,
    decoder_steps: int = 100,
    checkpoints: int = 4,
    runs: Path = Path("runs/compare"),
    output: Path = Path("docs/compare.md"),
    pictures: Path | None = None,
    accelerator: str = "auto",
    at_once: int = 2,
) -> None:
    """Train each recipe for the same number of steps, probe the frozen encoders, write a page with pictures.

    Complete runs are neither trained nor probed again.

    Args:
        data: labelled clips for probes, as for `vjepa probe`.
        recipes: of `vjepa fit`; the picture of collapse shows the last one beside the first.
        steps: of each run.
        seeds: of weights and clips; each recipe is trained with each of them.
        pooled_cells: what nearest neighbours and the linear probe read, as for `vjepa probe`.
        sweep: heads and how they are trained.
        labels_per_class: labelled clips of each class; below 1 the fraction of each class; or "all".
        fork_steps: of each model of the fork.
        decoder_steps: of the decoders that show what embeddings hold.
        checkpoints: of each run, evenly over its steps, that are scored for the picture of accuracy over processor
            time; runs that were complete before have only the last.
        runs: folder of the runs.
        output: the page.
        pictures: folder of its pictures; `pictures` beside the page if None.
        accelerator: as for Lightning's trainer.
        at_once: number of runs that are trained and probed in parallel, each with an equal number of processor cores:
            networks this small gain little from threads (two at once take little longer than one on both cores). 1 for
            one accelerator.
    """
    started = time.monotonic()
    command = _command(recipes, steps, seeds)
    recipes = [find_recipe(str(recipe)) or recipe for recipe in recipes]
    counts = {"steps": steps, "fork_steps": fork_steps, "decoder_steps": decoder_steps}
    _check(recipes, seeds, counts | {"checkpoints": checkpoints, "at_once": at_once})
    require_matplotlib()  # before half an hour of training, not after
    names, random_rows = [recipe.stem for recipe in recipes], _random_rows(recipes)
    probing = Probing(data, sweep, labels_per_class, runs / "features", accelerator, pooled_cells)
    threads = max(1, count_processors() // at_once)
    keep = {"checkpoint.keep_every_n_steps": -(-steps // checkpoints)}
    print(
        f"a ball at a fork, {fork_steps} steps of three models; then {steps} steps by each recipe; probes and decoders"
    )
    with side_by_side(at_once, threads) as pool:
        fork_job = pool.submit(compare_on_forks, fork_steps, decoder_steps)
        run_jobs = [
            pool.submit(trained_run, recipe, steps, seed, runs, accelerator, threads, keep)
            for recipe in recipes
            for seed in seeds
        ]
        try:
            trained = [job.result() for job in run_jobs]
            subjects = [
                *map(_trained, trained),
                *(
                    untrained(_name(row, seed), recipe, seed, runs)
                    for row, recipe in random_rows.items()
                    for seed in seeds
                ),
            ]
            probe_jobs = [pool.submit(probing.measure, group) for group in _groups(subjects, at_once)]
            encoders = [subject.encoder for subject in subjects[: len(trained) : len(seeds)]]
            decoder_jobs = [
                pool.submit(decoded, dict(group), data, decoder_steps)
                for group in _groups([*zip(names, encoders, strict=True)], at_once)
            ]
            cost_jobs = [
                pool.submit(scores_over_training, group, data, labels_per_class[0], pooled_cells)
                for group in _groups(trained, at_once)
            ]
            measured = {name: each for job in probe_jobs for name, each in job.result().items()}
            decoders = {name: each for job in decoder_jobs for name, each in job.result().items()}
            scores = [each for job in cost_jobs for each in job.result()]
            fork = fork_job.result()
        except ValueError:
            pool.shutdown(cancel_futures=True)
            raise
    for run in trained:
        name = _name(run.recipe, run.seed)
        measured[name] = measured[name]._replace(processor_seconds=_processor_seconds(run))
    folder = pictures or output.parent / "pictures"
    draw_fork(fork, folder / "compare_fork.png")
    curves = {run.recipe: curves_by_step(run.folder) for run in (trained[-len(seeds)], trained[0])}
    draw_collapse(
        {
            title: {recipe: values.get(name, {}) for recipe, values in curves.items()}
            for title, name in COLLAPSE.items()
        },
        folder / "compare_collapse.png",
    )
    scored_by = f"nearest neighbours, {describe(CLASSES, labels_per_class[0])}"
    _draw_costs(trained, scores, folder / "compare_cost.png", scored_by)
    draw_latents({name: decoders[name] for name in names}, folder / "compare_latents.png")
    result = Comparison(
        command,
        steps,
        seeds,
        {row: [measured[_name(row, seed)] for seed in seeds] for row in (*names, *random_rows)},
        {recipe.stem: _about(recipe) for recipe in recipes},
        encoders[0].embed_dim,
        1 / len(data.class_names),
        fork,
        {name: decoders[name].error for name in names},
        len(random_rows) == 1,
        scored_by,
        _draw_correlations(trained[:: len(seeds)], data, folder / "compare_barlow_twins.png"),
    )
    write_text(output, page(result, Path(os.path.relpath(folder, output.parent))))
    print(f"{output} is written, after {time.monotonic() - started:.0f} s")


def _name(row: str, seed: int) -> str:
    return f"{row}, seed {seed}"


def _trained(run: TrainedRun) -> Subject:
    return Subject(_name(run.recipe, run.seed), read_run(run.checkpoint).encoder(), run.folder)


def _random_rows(recipes: list[Path]) -> dict[str, Path]:
    """Rows of random weights, one for each kind of encoder, and the first recipe with that encoder."""
    rows: dict[str, Path] = {}
    known: list[dict[str, Any]] = []
    for recipe in recipes:
        settings = whole_settings(VideoEncoder, read_settings(recipe).encoder)
        if settings not in known:
            known.append(settings)
            rows[f"{RANDOM}, encoder of {recipe.stem}" if rows else RANDOM] = recipe
    return rows


def _draw_costs(runs: list[TrainedRun], scores: list[dict[int, float]], picture: Path, title: str) -> None:
    """Of each recipe the steps whose checkpoints all its seeds have."""
    shared: dict[str, set[int]] = {}
    for run, by_step in zip(runs, scores, strict=True):
        shared[run.recipe] = shared.get(run.recipe, {*by_step}) & by_step.keys()
    curves: dict[str, list[dict[float, float]]] = {}
    for run, by_step in zip(runs, scores, strict=True):
        per_step = _processor_seconds(run)
        if per_step is not None:
            points = {step * per_step: by_step[step] for step in sorted(shared[run.recipe])}
            curves.setdefault(run.recipe, []).append(points)
    draw_cost(curves, picture, title)


def _draw_correlations(runs: list[TrainedRun], data: LabelledClips, picture: Path) -> str | None:
    """Draw those of the first recipe of Barlow Twins, and return its name."""
    clips = first_clips(data, "test", NUM_CLIPS_FOR_HEALTH)
    found = next((each for run in runs if (each := correlations(run, clips)) is not None), None)
    if found is None:
        return None
    draw_correlations(found, picture)
    return found.recipe


def _groups(items: list[T], at_once: int) -> list[list[T]]:
    """Groups that share a pass over the clips: one for each process, or more, so that an interruption loses little."""
    size = min(MOST_ENCODERS, -(-len(items) // at_once))
    return [items[start : start + size] for start in range(0, len(items), size)]


def _processor_seconds(run: TrainedRun) -> float | None:
    """Processor seconds of a training step."""
    seconds = [*curves_by_step(run.folder).get("speed/processor_seconds_per_step", {}).values()]
    return seconds[-1] if seconds else None


def _check(recipes: list[Path], seeds: list[int], counts: dict[str, int]) -> None:
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
        raise ValueError(f"recipes ({', '.join(names)}) and seeds ({seeds}) must each be unique")


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
