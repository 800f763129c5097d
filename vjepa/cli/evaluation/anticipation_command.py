"""`vjepa anticipate`: action anticipation by the protocol of EPIC-Kitchens-100."""

import time
from typing import Literal

import numpy as np

from vjepa.cli.checkpoint_arguments import CheckpointArguments
from vjepa.cli.parser import run_by_recipe
from vjepa.data.clips.anticipation import TASKS, AnticipationClips
from vjepa.evaluation.anticipation.anticipation import AnticipationEvaluation, show_table, write_files
from vjepa.evaluation.anticipation.features import AnticipationFeatures
from vjepa.evaluation.probes.sweep import Sweep
from vjepa.evaluation.results import print_unreadable

BaselineName = Literal["encoder", "random"]


def anticipate(
    source: CheckpointArguments,
    data: AnticipationClips,
    baselines: list[BaselineName] = ["encoder", "random"],  # noqa: B006 (read only)
    sweep: Sweep = Sweep(heads=("attentive_4",)),  # noqa: B008 (frozen)
    seed: int = 0,
) -> None:
    """Probe the predictor's tokens of a clip's future, print a table, write results to the folder `anticipation`.

    Args:
        source: the checkpoint.
        data: clips before actions: heads learn on train, one is chosen on val, and scored once on test.
        baselines: rows beside encoder and predictor: the encoder alone, the same networks untrained.
        sweep: attentive heads, their learning rates and weight decays, and the length of their training.
        seed: of the heads.
    """
    started = time.monotonic()
    run = source.read(with_predictor=True)
    print(f"anticipating with the {source.encoder} encoder and the predictor of {run.named}")
    test = data.splits["test"].labels
    for task, name in enumerate(TASKS):
        unseen = int((test[:, task] >= data.num_classes[task]).sum())
        print(
            f"{name}s: {data.num_classes[task]} in training, {len(np.unique(test[:, task]))} in {len(test)} test "
            f"actions, of which {unseen} have a class that training lacks and count as wrong"
        )
    encoder = run.encoder(source.encoder)
    rows = [AnticipationFeatures("encoder and predictor", encoder, run.predictor(), data.fps)]
    if "encoder" in baselines:
        rows.append(AnticipationFeatures("encoder alone", encoder, None, data.fps))
    if "random" in baselines:
        rows.append(AnticipationFeatures("random weights", *run.untrained_networks(), data.fps))
    results = AnticipationEvaluation(data, rows, sweep, seed, source.accelerator).run()
    folder = source.folder(run, "anticipation")
    write_files(results, folder, source.facts(run) | {"test_actions": len(test)})
    show_table(results, run.title)
    print_unreadable(data.unreadable)
    print(f"results are in {folder}, after {time.monotonic() - started:.0f} s")


def run_anticipation_command(arguments: list[str]) -> None:
    """Parse and run `vjepa anticipate`."""
    description = "Anticipate actions from clips before they start."
    run_by_recipe(anticipate, arguments, "vjepa anticipate", description, {"source": CheckpointArguments})
