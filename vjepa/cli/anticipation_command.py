"""`vjepa anticipate`: does a checkpoint know what will be done next? EPIC-Kitchens-100's protocol."""

import time
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from vjepa.cli.parser import run_by_recipe
from vjepa.data.clips.anticipation import TASKS, AnticipationClips
from vjepa.evaluation.anticipation.anticipation import (
    AnticipationEvaluation,
    AnticipationFeatures,
    print_table,
    write_results,
)
from vjepa.evaluation.probes.probe import Sweep
from vjepa.interop.run_folder import EncoderName, PretrainedRun, newest_checkpoint, read_run

BaselineName = Literal["encoder", "random"]


def anticipate(
    data: AnticipationClips,
    checkpoint: Path | None = None,
    settings: Path | None = None,
    encoder: EncoderName = "target",
    baselines: list[BaselineName] = ["encoder", "random"],  # noqa: B006 (read only)
    sweep: Sweep = Sweep(heads=("attentive_4",)),  # noqa: B008 (frozen)
    seed: int = 0,
    runs: Path = Path("runs"),
    output: Path | None = None,
    accelerator: str = "auto",
) -> None:
    """Probe what the predictor makes of a clip's future, print a table, write results.

    Args:
        data: clips before actions: heads learn on train, one is chosen on val, and scored once on test.
        checkpoint: of a run of `vjepa fit`; the newest below `runs` if None.
        settings: the run's config.yaml, where it does not lie in the checkpoint's run folder.
        encoder: the target encoder (the moving average), or the context encoder.
        baselines: what stands beside encoder and predictor: the encoder alone, the same networks untrained.
        sweep: attentive heads, their learning rates and weight decays, and for how long they are trained.
        seed: of the heads.
        runs: folder of all runs.
        output: folder of results; `anticipation` in the run's folder if None.
        accelerator: as for Lightning's trainer.
    """
    started = time.monotonic()
    checkpoint = checkpoint or newest_checkpoint(runs)
    run = read_run(checkpoint, settings)
    print(f"anticipating with the {encoder} encoder and the predictor of {checkpoint}, step {run.step}")
    test = data.splits["test"].labels
    for task, name in enumerate(TASKS):
        unseen = int((test[:, task] >= data.num_classes[task]).sum())
        print(
            f"{name}s: {data.num_classes[task]} in training, {len(np.unique(test[:, task]))} in {len(test)} test "
            f"actions, of which {unseen} are of none that training has and count as wrong"
        )
    rows = features_of(run, encoder, baselines, data.fps)
    results = AnticipationEvaluation(data, rows, sweep, seed, accelerator).run()
    folder = output or checkpoint.parent.parent / "anticipation"
    facts = {"checkpoint": str(checkpoint), "step": run.step, "encoder": encoder, "test_actions": len(test)}
    write_results(results, folder, facts)
    print_table(results, f"{checkpoint.parent.parent.parent.name}, step {run.step}")
    if data.unreadable:
        path, reason = next(iter(data.unreadable.items()))
        print(f"files that could not be read and were left out: {len(data.unreadable)}, the first {path} ({reason})")
    print(f"results are in {folder}, after {time.monotonic() - started:.0f} s")


def features_of(
    run: PretrainedRun, encoder: EncoderName, baselines: list[BaselineName], fps: float
) -> list[AnticipationFeatures]:
    """The rows of the table: the checkpoint first."""
    trained = run.encoder(encoder)
    rows = [AnticipationFeatures("encoder and predictor", trained, run.predictor(), fps)]
    if "encoder" in baselines:
        rows.append(AnticipationFeatures("encoder alone", trained, None, fps))
    if "random" in baselines:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run.seed)
            untrained = run.untrained_encoder(), run.untrained_predictor()
        rows.append(AnticipationFeatures("random weights", *untrained, fps))
    return rows


def run_anticipation_command(arguments: list[str]) -> None:
    """Parse and run `vjepa anticipate`."""
    run_by_recipe(anticipate, arguments, "vjepa anticipate", "Anticipate actions from clips before they start.")
