"""`vjepa finetune`: a checkpoint's encoder trained with labels, whole or by low-rank adapters."""

import time

from vjepa.cli.checkpoint_arguments import CheckpointArguments
from vjepa.cli.parser import run_by_recipe
from vjepa.data.clips.labelled_clips import LabelledClips
from vjepa.evaluation.finetuning.adapters import LowRank
from vjepa.evaluation.finetuning.classifier import Tuning
from vjepa.evaluation.finetuning.finetuning import FineTuning, Method
from vjepa.evaluation.probes.frozen_evaluation import Amount
from vjepa.evaluation.probes.report import print_tables, write_files
from vjepa.evaluation.probes.sweep import Sweep
from vjepa.evaluation.results import print_unreadable

SWEEP = Sweep(
    heads=("attentive",),
    learning_rates=(3e-4, 1e-3),
    weight_decays=(0.05,),
    num_epochs=20,
    min_steps=200,
    batch_size=16,
    warmup=0.1,
)


def finetune(
    source: CheckpointArguments,
    tuning: Tuning,
    data: LabelledClips,
    methods: list[Method] = ["whole"],  # noqa: B006 (read only)
    sweep: Sweep = SWEEP,
    lora: LowRank = LowRank(),  # noqa: B008 (frozen)
    labels_per_class: list[Amount] = ["all"],  # noqa: B006 (read only)
    seeds: list[int] = [0],  # noqa: B006 (read only)
    save: bool = True,
) -> None:
    """Fine-tune an encoder with labels, print a table, write results and models to the folder `finetune`.

    Args:
        source: the checkpoint.
        tuning: how the encoder is trained beside its head.
        data: labelled clips: encoder and head learn on train, are chosen on val, and the chosen ones are scored once on
            test.
        methods: rows of the table: the "whole" encoder is trained; "lora" trains low-rank adapters of it; "frozen"
            trains a head alone; "scratch" trains the whole encoder from random weights.
        sweep: heads, their learning rates and weight decays, and the length of training.
        lora: low-rank adapters.
        labels_per_class: labelled clips of each class; below 1 the fraction of each class; or "all".
        seeds: of labelled clips, heads, order and crops; with several the table shows mean and standard deviation.
        save: write encoder and head of the first fold and seed, and the last amount of labels, as a native folder.
    """
    started = time.monotonic()
    run = source.read()
    print(f"fine-tuning the {source.encoder} encoder of {run.named}")
    folder = source.folder(run, "finetune")
    evaluation = FineTuning(
        data,
        run,
        source.encoder,
        methods,
        sweep,
        tuning,
        lora,
        labels_per_class,
        seeds,
        folder if save else None,
        source.accelerator,
    )
    results = evaluation.run()
    facts = source.facts(run) | {"chance": 1 / len(data.class_names)}
    write_files(results, folder, facts | {"trained": {k: v._asdict() for k, v in evaluation.trained.items()}})
    print_tables(results, run.title)
    for name, count in evaluation.trained.items():
        print(
            f"{name}: trains {count.encoder:,} weights of the encoder ({count.fraction:.2%}), {count.head:,} of a head"
        )
    print_unreadable(data.unreadable)
    print("intervals are 95 % over test clips (bootstrap)")
    print(f"results{' and models' if save else ''} are in {folder}, after {time.monotonic() - started:.0f} s")


def run_finetune_command(arguments: list[str]) -> None:
    """Parse and run `vjepa finetune`."""
    description = "Fine-tune a checkpoint with labels: whole, by low-rank adapters, beside frozen and from scratch."
    run_by_recipe(finetune, arguments, "vjepa finetune", description, {"source": CheckpointArguments, "tuning": Tuning})
