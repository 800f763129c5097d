"""`vjepa label-efficiency`: accuracy against labels and unlabelled clips, beside training with labels alone."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from vjepa.cli.parser import run_by_recipe
from vjepa.data.atomic_file import write_text
from vjepa.data.clips.labelled_clips import LabelledClips
from vjepa.data.manifest.manifest import Manifest
from vjepa.evaluation.comparison.comparison import Probing, Subject, untrained
from vjepa.evaluation.comparison.side_by_side import side_by_side
from vjepa.evaluation.comparison.training import TrainedRun, recipe_digest, trained_run
from vjepa.evaluation.figures import require_matplotlib
from vjepa.evaluation.label_efficiency.label_efficiency import (
    SUPERVISED,
    UNTRAINED,
    Curve,
    LabelEfficiency,
    best_probes,
    rows_of,
    supervised_point,
)
from vjepa.evaluation.label_efficiency.page import page
from vjepa.evaluation.label_efficiency.picture import draw_label_efficiency, title
from vjepa.evaluation.label_efficiency.subset import training_files, write_subset
from vjepa.evaluation.probes.frozen_evaluation import Amount
from vjepa.evaluation.probes.sweep import Sweep
from vjepa.evaluation.results import write_results
from vjepa.interop.recipe import find_recipe, read_recipe
from vjepa.interop.run_folder import read_run
from vjepa.processors import count_processors

SUPERVISED_SWEEP = Sweep(
    heads=("attentive",),
    learning_rates=(5e-4, 1e-3),
    weight_decays=(0.05,),
    num_epochs=24,
    min_steps=400,
    batch_size=64,
    warmup=0.05,
)


def label_efficiency(
    data: LabelledClips,
    recipe: Path = Path("configs/pretrain/synthetic.yaml"),
    steps: int | None = None,
    unlabelled: list[int | Literal["all"]] = [250, 1000, "all"],  # noqa: B006 (read only)
    labels_per_class: list[Amount] = [5, 20, 100, "all"],  # noqa: B006 (read only)
    headline: Amount = 20,
    seeds: list[int] = [0, 1, 2],  # noqa: B006 (read only)
    pooled_cells: int | None = None,
    sweep: Sweep = Sweep(),  # noqa: B008 (frozen)
    supervised: Sweep = SUPERVISED_SWEEP,
    runs: Path = Path("runs/compare"),
    output: Path = Path("docs/labels.md"),
    pictures: Path | None = None,
    accelerator: str = "auto",
    at_once: int = 2,
) -> None:
    """Pretrain on more and more clips, probe with more and more labels, and count the labels that this saves.

    Complete runs and results are not made again; those of `vjepa compare` are shared.

    Args:
        data: labelled clips for probes and for training with labels alone, as for `vjepa probe`.
        recipe: of pretraining by `vjepa fit`, with one training manifest.
        steps: of pretraining; the recipe's if None.
        unlabelled: numbers of clips to pretrain on, the largest last: a random subset, or "all".
        labels_per_class: labelled clips of each class, ascending; below 1 the fraction of each class; or "all".
        headline: the one of them whose number stands above the picture.
        seeds: of weights, clips and labels.
        pooled_cells: what nearest neighbours and the linear probe read, as for `vjepa probe`.
        sweep: heads on frozen features and how they are trained.
        supervised: heads, learning rates and length of training with labels alone.
        runs: folder of the runs, and of all results.
        output: the page.
        pictures: folder of its picture; `pictures` beside the page if None.
        accelerator: as for Lightning's trainer.
        at_once: number of jobs in parallel, each with an equal number of processor cores. 1 for one accelerator.
    """
    started = time.monotonic()
    recipe = find_recipe(str(recipe)) or recipe
    settings = read_recipe(recipe)
    clips = training_files(settings)
    steps = steps or int(settings["trainer"]["max_steps"])
    _check(data, labels_per_class, headline, unlabelled, seeds, at_once)
    require_matplotlib()  # before hours of training, not after
    folder = runs / "labels"
    threads = max(1, count_processors() // at_once)
    with side_by_side(at_once, threads) as pool:
        run_jobs = {}
        for seed in seeds:
            for number in unlabelled:
                flags, variant = _subset(clips, number, seed, folder, recipe)
                run = (recipe, steps, seed, runs, accelerator, threads, flags, variant)
                run_jobs[seed, number] = pool.submit(trained_run, *run)
        supervised_jobs = {
            (seed, amount): pool.submit(
                supervised_point, recipe, data, supervised, amount, seed, folder, accelerator, threads
            )
            for seed in seeds
            for amount in labels_per_class
        }
        try:
            probe_jobs = {}
            for seed in seeds:
                probing = Probing(
                    data, sweep, labels_per_class, runs / "features", accelerator, pooled_cells, seed, "labels.json"
                )
                trained = [_trained(run_jobs[seed, number].result(), number) for number in unlabelled]
                probe_jobs[seed] = pool.submit(probing.measure, [*trained, untrained(UNTRAINED, recipe, seed, runs)])
            measured = [probe_jobs[seed].result() for seed in seeds]
            alone = [[supervised_jobs[seed, amount].result() for amount in labels_per_class] for seed in seeds]
        except ValueError:
            pool.shutdown(cancel_futures=True)
            raise
    probed = {
        name: [best_probes(of_seed[name], labels_per_class) for of_seed in measured]
        for name in (*map(str, unlabelled), UNTRAINED)
    }
    counts = {number: len(clips) if number == "all" else int(number) for number in unlabelled}
    result = LabelEfficiency(
        labels_per_class,
        [len(data.labelled_rows(amount)) / len(data.class_names) for amount in labels_per_class],
        seeds,
        [Curve(f"pretrained on {count:,} clips", probed[str(number)]) for number, count in counts.items()],
        Curve(UNTRAINED, probed[UNTRAINED]),
        Curve(SUPERVISED, alone),
        1 / len(data.class_names),
    )
    at = labels_per_class.index(headline)
    picture = (pictures or output.parent / "pictures") / "labels.png"
    draw_label_efficiency(result, at, picture)
    shown: dict[str, Sequence[object]] = {
        "unlabelled": unlabelled,
        "labels_per_class": labels_per_class,
        "seeds": seeds,
    }
    asked = " ".join(f"--{name}=[{','.join(map(str, values))}]" for name, values in shown.items())
    command = f'make labels ARGS="--recipe={recipe} --steps={steps} {asked}"'
    write_text(output, page(result, at, command, recipe, steps, Path(os.path.relpath(picture, output.parent))))
    found = rows_of(result)
    saved = {curve.name: result.saved(curve, at).words for curve in result.pretrained}
    facts = {
        "recipe": str(recipe),
        "steps": steps,
        "chance": result.chance,
        "headline": headline,
        "labels_saved": saved,
    }
    write_results(folder, facts, found, {"results.csv": (list(found[0]), found)})
    print(title(result, at).replace("\n", " "))
    print(f"{output} is written, the numbers are in {folder}, after {time.monotonic() - started:.0f} s")


def _subset(
    clips: Manifest, number: int | Literal["all"], seed: int, folder: Path, recipe: Path
) -> tuple[dict[str, object], str]:
    """Flags of a run that trains on so many clips, and what they add to its name."""
    if number == "all":
        return {}, ""
    file = folder / f"{recipe.stem}_{recipe_digest(recipe)}_{number}_clips_seed_{seed}.csv"
    write_subset(clips, number, seed, file)
    return {"data.train_manifest": file, "data.train_split": "null"}, f"_{number}_clips"


def _trained(run: TrainedRun, number: int | Literal["all"]) -> Subject:
    return Subject(str(number), read_run(run.checkpoint).encoder(), run.folder)


def _check(
    data: LabelledClips,
    labels_per_class: list[Amount],
    headline: Amount,
    unlabelled: list[int | Literal["all"]],
    seeds: list[int],
    at_once: int,
) -> None:
    if at_once < 1 or not unlabelled or not labels_per_class or not seeds:
        raise ValueError(
            f"at_once ({at_once}) must be at least 1, and unlabelled, labels_per_class and seeds have one or more"
        )
    if data.folds is not None:
        raise ValueError("labels are counted in one training split; give splits in place of folds (--data.folds=null)")
    if headline not in labels_per_class:
        raise ValueError(f"headline ({headline}) must be one of labels_per_class ({labels_per_class})")
    counts = [len(data.labelled_rows(amount)) for amount in labels_per_class]
    if sorted(set(counts)) != counts:
        raise ValueError(
            f"labels_per_class ({labels_per_class}) must ascend, and here they are {counts} clips in all; leave out "
            f"what classes do not have"
        )
    several: dict[str, Sequence[int | str]] = {"unlabelled": unlabelled, "seeds": seeds}
    for name, values in several.items():
        if len(set(values)) < len(values):
            raise ValueError(f"{name} ({values}) must be unique")


def run_label_efficiency_command(arguments: list[str]) -> None:
    """Parse and run `vjepa label-efficiency`."""
    description = "Accuracy against labels and unlabelled clips, beside training with labels alone."
    run_by_recipe(label_efficiency, arguments, "vjepa label-efficiency", description)
