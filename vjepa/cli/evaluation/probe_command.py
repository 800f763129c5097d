"""`vjepa probe`: frozen evaluation of a checkpoint beside baselines."""

import time
from dataclasses import fields
from pathlib import Path
from typing import Literal

from jsonargparse import Namespace

from vjepa.cli.checkpoint_arguments import CheckpointArguments
from vjepa.cli.parser import run_by_recipe
from vjepa.data.clips.labelled_clips import LabelledClips
from vjepa.evaluation.probes.frozen_evaluation import CLASSES, Amount, FrozenEvaluation, describe
from vjepa.evaluation.probes.frozen_features import (
    EncoderFeatures,
    FrameDifferenceFeatures,
    FrozenFeatures,
    PixelFeatures,
)
from vjepa.evaluation.probes.histogram_features import FlowHistogramFeatures, GradientHistogramFeatures
from vjepa.evaluation.probes.image_features import ImageBackboneFeatures, weights_at_hand
from vjepa.evaluation.probes.report import hardest, print_tables, write_files
from vjepa.evaluation.probes.sweep import Sweep
from vjepa.evaluation.probes.temporal_tasks import TemporalTaskName
from vjepa.evaluation.results import print_unreadable
from vjepa.interop.opening import with_encoder

BaselineName = Literal["random", "pixels", "differences", "gradients", "flow", "image", "random_image"]


def probe(
    source: CheckpointArguments,
    data: LabelledClips,
    levels: list[int] | None = None,
    pooled_cells: int | None = None,
    baselines: list[BaselineName] = ["random", "pixels", "differences", "image"],  # noqa: B006 (read only)
    image_model: str = "vit_small_patch14_dinov2",
    image_weights: Path | None = None,
    image_model_size: int | None = None,
    sweep: Sweep = Sweep(),  # noqa: B008 (frozen)
    labels_per_class: list[Amount] = [20, "all"],  # noqa: B006 (read only)
    seeds: list[int] = [0],  # noqa: B006 (read only)
    cache: Path | None = None,
    cache_gigabytes: float = 20.0,
    shuffle_labels: bool = False,
    temporal: list[TemporalTaskName] = [],  # noqa: B006 (read only)
    clips_of_run: bool = False,
) -> None:
    """Probe frozen features, print a table, write results to the folder `probe`.

    Args:
        source: the checkpoint.
        data: labelled clips: heads learn on train, are chosen on val, and the chosen ones are scored once on test.
        levels: blocks whose tokens are read, from 0, concatenated along the sequence; the last one if None.
        pooled_cells: nearest neighbours and the linear probe read mean and standard deviation of tokens in this many
            cells over the height and over the width of the frame; the mean over all tokens if None.
        baselines: rows beside the checkpoint: the same network untrained (by the run's seed), small frames, their
            differences, gradient histograms of one frame, histograms of optical flow, and a frozen image model per
            frame where its weights are at hand, or random_image: with random weights.
        image_model: timm's name of the image model.
        image_weights: its weights, as safetensors or a checkpoint of tensors; those in the local cache of the Hugging
            Face hub if None, and nothing is downloaded.
        image_model_size: side of the square that its frames are resized to, such as 224; their own size if None.
        sweep: heads, their learning rates and weight decays, and the length of their training.
        labels_per_class: labelled clips of each class; below 1 the fraction of each class; or "all".
        seeds: of the labelled clips and of the heads; with several the table shows mean and standard deviation.
        cache: folder of encoded features; `features` in the folder of runs if None.
        cache_gigabytes: limit for features on the disk; beyond it clips are encoded anew in each pass.
        shuffle_labels: learn and choose by shuffled labels, as a check of the protocol: all must end near chance.
        temporal: tasks without labels, in tables of their own: "arrow" (is a clip played backwards?), "order" (are its
            parts out of order?), "speed" (how fast does it run?).
        clips_of_run: frames, rate and size of clips that are not given are those of the checkpoint's training.
    """
    started = time.monotonic()
    run = source.read()
    print(f"probing the {source.encoder} encoder of {run.named}")
    encoder = run.encoder(source.encoder)
    rows: list[FrozenFeatures] = [EncoderFeatures("pretrained", encoder, levels, pooled_cells, data.crop_size)]
    if "random" in baselines:
        untrained = run.untrained_encoder()
        rows.append(EncoderFeatures("random weights", untrained, levels, pooled_cells, data.crop_size))
    if "pixels" in baselines:
        rows.append(PixelFeatures())
    if "differences" in baselines:
        rows.append(FrameDifferenceFeatures())
    if "gradients" in baselines:
        rows.append(GradientHistogramFeatures())
    if "flow" in baselines:
        rows.append(FlowHistogramFeatures())
    if "image" in baselines:
        weights = image_weights or weights_at_hand(image_model)
        if weights is None:
            print(
                f"no row of an image model: no weights of {image_model} are at hand; give --image_weights=FILE (and "
                f"--image_model=NAME of timm), or random_image in place of image among --baselines"
            )
        else:
            rows.append(ImageBackboneFeatures(image_model, weights, image_model_size))
    if "random_image" in baselines:
        rows.append(ImageBackboneFeatures(image_model, None, image_model_size))
    results = FrozenEvaluation(
        data,
        rows,
        sweep,
        labels_per_class,
        seeds,
        cache or source.runs / "features",
        cache_gigabytes,
        source.accelerator,
        shuffle_labels,
        temporal,
    ).run()
    folder = source.folder(run, "probe")
    write_files(results, folder, source.facts(run) | {"chance": 1 / len(data.class_names)})
    print_tables(results, run.title)
    for amount in labels_per_class:
        print(f"{describe(CLASSES, amount)}, {hardest(results, rows[0].name, amount)}")
    print_unreadable(data.unreadable)
    print("intervals are 95 % over test clips (bootstrap)")
    print(f"results are in {folder} (chart.svg is the table as a picture), after {time.monotonic() - started:.0f} s")


def run_probe_command(arguments: list[str]) -> None:
    """Parse and run `vjepa probe`."""
    description = "Frozen evaluation of a checkpoint beside baselines."
    flat = {"source": CheckpointArguments}
    run_by_recipe(probe, arguments, "vjepa probe", description, flat, clips_as_in_training)


def clips_as_in_training(given: Namespace) -> None:
    """Give `data` the frames, rate and size of the checkpoint's clips, where it has the defaults."""
    if not given.clips_of_run:
        return
    names = [field.name for field in fields(CheckpointArguments)]
    source = CheckpointArguments(**{name: given[name] for name in names})
    checkpoint = source.read().checkpoint
    clips = with_encoder(checkpoint, None, source.num_heads, source.image_size)[0].preprocessing
    defaults = {field.name: field.default for field in fields(LabelledClips)}
    for name in ("num_frames", "crop_size"):
        if given.data[name] == defaults[name]:
            given.data[name] = getattr(clips, name)
    if all(given.data[name] is None for name in ("fps", "frame_step", "duration")):
        given.data.fps, given.data.frame_step = clips.fps, clips.frame_step
    data = given.data
    rate = f"{data.fps:g} frames per second" if data.fps else f"one of {data.frame_step} frames"
    height, width = data.crop_size
    print(f"clips: {data.num_frames} frames, {rate}, {height} x {width} pixels, as in training where no flag differs")
