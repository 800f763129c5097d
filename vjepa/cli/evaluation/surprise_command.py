"""`vjepa surprise`: how much clips surprise a model, and whether the impossible one of a pair does more."""

import importlib.util
import time
from pathlib import Path
from typing import Literal

import torch

from vjepa.cli.checkpoint_arguments import CheckpointArguments
from vjepa.cli.parser import run_by_recipe
from vjepa.data.clips.matched_pairs import PairClips
from vjepa.evaluation.accelerator import Precision, torch_device
from vjepa.evaluation.results import print_unreadable
from vjepa.evaluation.surprise.evaluation import SurpriseEvaluation, SurpriseResults
from vjepa.evaluation.surprise.latent_surprise import COPY, VELOCITY, LatentSurprise, hypotheses_of
from vjepa.evaluation.surprise.next_frame_surprise import NextFrameSurprise
from vjepa.evaluation.surprise.pictures import PairSheets
from vjepa.evaluation.surprise.pixel_surprise import (
    DIFFERENCE,
    FLOW,
    PIXEL_COPY,
    PIXEL_VELOCITY,
    FrameSurprise,
    PixelSurprise,
)
from vjepa.evaluation.surprise.report import print_tables, write_files
from vjepa.evaluation.surprise.ridge_predictor import MOST_CLIPS, fit_ridge
from vjepa.evaluation.surprise.windows import PastWindows, Scorer
from vjepa.evaluation.surprise.world_model_surprise import WorldModelSurprise
from vjepa.interop.loading import read_checkpoint
from vjepa.interop.opening import open_run
from vjepa.interop.run_folder import PretrainedRun, checkpoint_in, newest_run
from vjepa.models import VideoEncoder
from vjepa.training.world_model_run import WorldModelRun, holds_world_model, read_world_model

BaselineName = Literal["random", "copy", "velocity", "difference", "flow"]
ALL_BASELINES: list[BaselineName] = ["random", "copy", "velocity", "difference", "flow"]


def surprise(
    source: CheckpointArguments,
    data: PairClips,
    windows: PastWindows = PastWindows(),  # noqa: B008 (frozen)
    baselines: list[BaselineName] = ALL_BASELINES,
    seed: int = 0,
    precision: Precision = "32-true",
    pairs_per_sheet: int = 2,
) -> None:
    """Score matched pairs by prediction error with past-only context; tables, results and pictures in `surprise`.

    Args:
        source: the checkpoint: of a JEPA, a released file, or a world model. `encoder` gives the targets.
        data: pairs: settings and thresholds come from val, scores from test.
        windows: how windows are cut and compared; world models, and predictors that read the past alone (memory_width
            without depth), predict each frame from those before it instead.
        baselines: rows beside the checkpoint: the same networks untrained (by the run's seed), copies of the last frame
            and of the last latents, constant velocity of pixels and of latents, difference from frame to frame,
            change of optical flow.
        seed: of the intervals.
        precision: of the networks.
        pairs_per_sheet: pairs of each property that are drawn; 0 draws none.
    """
    started = time.monotonic()
    opened = _opened(source, data)
    device = torch_device(source.accelerator)
    if isinstance(opened, WorldModelRun):
        print(f"surprise of the world model of {opened.checkpoint}, step {opened.step}")
        if not data.has_actions:
            print("the clips have no actions (column 'actions'): the world model is given actions of zero")
        scorers = _world_model_rows(opened, data, baselines, device)
    else:
        print(f"surprise of the predictor and the {source.encoder} encoder of {opened.named}")
        scorers = _masked_rows(opened, source, data, windows, baselines, device, precision)
    rules = {"copy": PIXEL_COPY, "velocity": PIXEL_VELOCITY}
    if of_pixels := [rules[name] for name in baselines if name in rules]:
        scorers.append(PixelSurprise(windows, of_pixels))
    changes = {"difference": DIFFERENCE, "flow": FLOW}
    scorers += [FrameSurprise(changes[name]) for name in baselines if name in changes]
    sheets = PairSheets(pairs_per_sheet)
    results = SurpriseEvaluation(data, scorers, seed, sheets.keep).run()
    folder = source.folder(opened, "surprise")
    write_files(results, folder, source.facts(opened) | {"windows": vars(windows), "data": data.facts()})
    print_tables(results, opened.title)
    print_unreadable(data.unreadable)
    if pairs_per_sheet:
        _draw(sheets, results, scorers[0].rows[0], folder)
    print(f"results are in {folder}, after {time.monotonic() - started:.0f} s")


def _opened(source: CheckpointArguments, data: PairClips) -> PretrainedRun | WorldModelRun:
    def opened(path: Path) -> PretrainedRun | WorldModelRun:
        if holds_world_model(checkpoint_in(path), source.settings):
            return read_world_model(path, source.settings)
        run = source.open(path)
        if run.settings.predictor is not None:
            run.require_predictor()
        elif data.train_manifest is None:
            raise ValueError(
                f"{run.checkpoint} has no predictor that could be surprised; give --data.train_manifest, a list of "
                f"possible clips, on which a ridge regression from past to later tokens is fitted in its place"
            )
        return run

    if source.checkpoint is not None:
        return opened(source.checkpoint)
    return newest_run(source.runs, opened, "to be surprised", "pretrain")


def _masked_rows(
    run: PretrainedRun,
    source: CheckpointArguments,
    data: PairClips,
    windows: PastWindows,
    baselines: list[BaselineName],
    device: torch.device,
    precision: Precision,
) -> list[Scorer]:
    """The trained model and the rules in its latents; the untrained model."""
    named = {"copy": COPY, "velocity": VELOCITY}
    rules = [named[name] for name in baselines if name in named]
    predictor = run.predictor() if run.settings.predictor is not None else None
    rows = [("pretrained", _context_encoder(run, source), run.encoder(source.encoder), predictor, rules)]
    if "random" in baselines:
        untrained, its_predictor = run.untrained_encoder(), None
        if predictor is not None:
            untrained, its_predictor = run.untrained_networks()
        rows.append(("random weights", untrained, untrained, its_predictor, []))
    scorers: list[Scorer] = []
    for name, encoder, target_encoder, its_predictor, its_rules in rows:
        if its_predictor is not None and its_predictor.reads_past_alone:
            scorers.append(NextFrameSurprise(name, encoder, target_encoder, its_predictor, windows, device, precision))
            if its_rules:
                scorers.append(LatentSurprise(encoder, target_encoder, 1, windows, its_rules, device, precision))
            continue
        num_levels = 1 if its_predictor is None else its_predictor.num_levels
        latents = LatentSurprise(encoder, target_encoder, num_levels, windows, its_rules, device, precision)
        if its_predictor is None:
            latents.add_row(f"{name}, ridge", [fit_ridge(latents, data.training_clips(MOST_CLIPS), MOST_CLIPS)])
        else:
            latents.add_row(name, hypotheses_of(its_predictor.to(device).eval(), windows.mask_token))
        scorers.append(latents)
    return scorers


def _context_encoder(run: PretrainedRun, source: CheckpointArguments) -> VideoEncoder:
    """The online encoder, which the predictor was trained on; the moving average where a file has no other."""
    file = run.checkpoint
    is_released = run.step is None and file.is_file() and file.suffix in (".pt", ".pth", ".tar")
    if is_released and "encoder" in read_checkpoint(file, lazily=True):
        run = open_run(file, "context", source.num_heads, source.image_size)
    return run.encoder("context")


def _world_model_rows(
    run: WorldModelRun, data: PairClips, baselines: list[BaselineName], device: torch.device
) -> list[Scorer]:
    models = {"pretrained": run.model}
    if "random" in baselines:
        models["random weights"] = run.untrained_model()
    return [WorldModelSurprise(name, model, data.frame_step, device) for name, model in models.items()]


def _draw(sheets: PairSheets, results: SurpriseResults, row: str, folder: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        print("no pictures: they need matplotlib; install it with `pip install matplotlib`")
        return
    files = sheets.draw(results, row, folder / "pictures")
    print(f"frames and curves of the first pairs are in {files[0].parent}: {', '.join(file.name for file in files)}")


def run_surprise_command(arguments: list[str]) -> None:
    """Parse and run `vjepa surprise`."""
    description = "How much do impossible clips surprise a model, beside possible ones?"
    run_by_recipe(surprise, arguments, "vjepa surprise", description, {"source": CheckpointArguments})
