"""`vjepa probe`: what has a checkpoint learned? One table, beside what has learned nothing."""

import time
from pathlib import Path
from typing import Literal

import torch

from vjepa.cli.parser import run_by_recipe
from vjepa.data.clips.labelled_clips import LabelledClips
from vjepa.evaluation.probes.frozen_evaluation import CLASSES, Amount, Answer, FrozenEvaluation, describe, scored
from vjepa.evaluation.probes.frozen_features import (
    EncoderFeatures,
    FrameDifferenceFeatures,
    FrozenFeatures,
    GradientHistogramFeatures,
    ImageBackboneFeatures,
    PixelFeatures,
)
from vjepa.evaluation.probes.probe import Sweep
from vjepa.evaluation.probes.report import hardest, print_tables, write_results
from vjepa.evaluation.probes.temporal_tasks import TemporalTaskName
from vjepa.interop.run_folder import EncoderName, PretrainedRun, newest_checkpoint, read_run

BaselineName = Literal["random", "pixels", "differences", "gradients", "image"]


def probe(
    data: LabelledClips,
    checkpoint: Path | None = None,
    settings: Path | None = None,
    encoder: EncoderName = "target",
    levels: list[int] | None = None,
    baselines: list[BaselineName] = ["random", "pixels", "differences", "image"],  # noqa: B006 (read only)
    image_model: str = "vit_small_patch14_dinov2",
    image_weights: Path | None = None,
    sweep: Sweep = Sweep(),  # noqa: B008 (frozen)
    labels_per_class: list[Amount] = [20, "all"],  # noqa: B006 (read only)
    seeds: list[int] = [0],  # noqa: B006 (read only)
    runs: Path = Path("runs"),
    output: Path | None = None,
    cache: Path | None = None,
    cache_gigabytes: float = 20.0,
    accelerator: str = "auto",
    shuffle_labels: bool = False,
    temporal: list[TemporalTaskName] = [],  # noqa: B006 (read only)
) -> None:
    """Probe frozen features, print a table, write results.

    Args:
        data: labelled clips: heads learn on train, are chosen on val, and the chosen ones are scored once on test.
        checkpoint: of a run of `vjepa fit`; the newest below `runs` if None.
        settings: the run's config.yaml, where it does not lie in the checkpoint's run folder.
        encoder: the target encoder (the moving average), or the context encoder.
        levels: blocks whose tokens are read, from 0, one behind the other; the last one if None.
        baselines: what stands beside the checkpoint: the same network untrained (by the run's seed), small frames,
            their differences, gradient histograms of one frame, and a frozen image model per frame where its weights
            are at hand.
        image_model: timm's name of the image model.
        image_weights: its weights, as safetensors or a checkpoint of tensors.
        sweep: heads, their learning rates and weight decays, and for how long they are trained.
        labels_per_class: labelled clips of each class; below 1 the share of each class; or "all".
        seeds: of the labelled clips and of the heads; with several the table shows mean and standard deviation.
        runs: folder of all runs.
        output: folder of results; `probe` in the run's folder if None.
        cache: folder of encoded features; `features` in the folder of runs if None.
        cache_gigabytes: what features may take on the disk; beyond it clips are encoded anew in each pass.
        accelerator: as for Lightning's trainer.
        shuffle_labels: learn and choose by shuffled labels, as a check of the protocol: all must end near chance.
        temporal: tasks without labels, in tables of their own: "arrow" (is a clip played backwards?), "order" (are its
            parts out of order?), "speed" (how fast does it run?).
    """
    started = time.monotonic()
    checkpoint = checkpoint or newest_checkpoint(runs)
    run = read_run(checkpoint, settings)
    print(f"probing the {encoder} encoder of {checkpoint}, step {run.step}")
    rows = features_of(run, encoder, levels, baselines, image_model, image_weights)
    parts = [data] if data.num_folds is None else [data.of_fold(number) for number in range(data.num_folds)]
    answers: list[Answer] = []
    for number, clips in enumerate(parts, start=1):
        if len(parts) > 1:
            print(f"fold {number} of {len(parts)}:")
        answers += FrozenEvaluation(
            clips,
            rows,
            sweep,
            labels_per_class,
            seeds,
            cache or runs / "features",
            cache_gigabytes,
            accelerator,
            shuffle_labels,
            temporal,
        ).answers()
    results = scored(answers)
    folder = output or checkpoint.parent.parent / "probe"
    facts = {"checkpoint": str(checkpoint), "step": run.step, "encoder": encoder, "chance": 1 / len(data.class_names)}
    write_results(results, folder, facts)
    print_tables(results, f"{checkpoint.parent.parent.parent.name}, step {run.step}")
    for amount in labels_per_class:
        print(f"{describe(CLASSES, amount)}, {hardest(results, rows[0].name, amount)}")
    if data.unreadable:
        path, reason = next(iter(data.unreadable.items()))
        print(f"files that could not be read and were left out: {len(data.unreadable)}, the first {path} ({reason})")
    print("intervals are 95 % over test clips (bootstrap)")
    print(f"results are in {folder}, after {time.monotonic() - started:.0f} s")


def features_of(
    run: PretrainedRun,
    encoder: EncoderName,
    levels: list[int] | None,
    baselines: list[BaselineName],
    image_model: str,
    image_weights: Path | None,
) -> list[FrozenFeatures]:
    """The rows of the table: the checkpoint first."""
    rows: list[FrozenFeatures] = [EncoderFeatures("pretrained", run.encoder(encoder), levels)]
    if "random" in baselines:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run.seed)
            rows.append(EncoderFeatures("random weights", run.untrained_encoder(), levels))
    if "pixels" in baselines:
        rows.append(PixelFeatures())
    if "differences" in baselines:
        rows.append(FrameDifferenceFeatures())
    if "gradients" in baselines:
        rows.append(GradientHistogramFeatures())
    if "image" in baselines and image_weights is not None:
        rows.append(ImageBackboneFeatures(image_model, image_weights))
    return rows


def run_probe_command(arguments: list[str]) -> None:
    """Parse and run `vjepa probe`."""
    run_by_recipe(probe, arguments, "vjepa probe", "Probe what a checkpoint has learned, features frozen.")
