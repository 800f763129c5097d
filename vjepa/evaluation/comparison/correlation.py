"""The cross-correlation matrix of Barlow Twins (arXiv 2103.03230) before and after training."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vjepa.data.clips.batch import normalize_clips
from vjepa.evaluation.comparison.training import TrainedRun
from vjepa.interop.loading import load_all
from vjepa.interop.networks import seeded
from vjepa.interop.recipe import read_recipe
from vjepa.interop.run_folder import read_run
from vjepa.models import VideoEncoder
from vjepa.objectives.barlow_twins import cross_correlation
from vjepa.objectives.projector import Projector

BATCH = 64


class Correlations(NamedTuple):
    """Of each projected feature of one half of a clip's tokens with each of the other half, over clips."""

    recipe: str
    steps: int
    before: Float[Tensor, "E E"]
    after: Float[Tensor, "E E"]


def correlations(run: TrainedRun, clips: UInt8[Tensor, "B 3 T H W"]) -> Correlations | None:
    """None for a recipe without Barlow Twins. Before training: random weights of encoder and projector."""
    found = _barlow_twins(read_recipe(run.folder / "config.yaml"))
    if found is None:
        return None
    term, projector_settings = found
    trained = read_run(run.checkpoint)
    with seeded(run.seed):
        encoder = VideoEncoder(**trained.settings.encoder)
        projector = None if projector_settings is None else Projector(**projector_settings)
    before = _matrix(encoder, projector, clips)
    if projector is not None:
        prefix = f"objective.{term}.regularizer.projector."
        weights = {key.removeprefix(prefix): each for key, each in trained.weights.items() if key.startswith(prefix)}
        load_all(projector, weights, run.checkpoint)
    return Correlations(run.recipe, run.steps, before, _matrix(trained.encoder("context"), projector, clips))


def _barlow_twins(recipe: dict[str, Any]) -> tuple[str, dict[str, Any] | None] | None:
    """The term with this regularizer, and the settings of its projector."""
    for name, term in (recipe["model"]["init_args"].get("terms") or {}).items():
        regularizer = ((term or {}).get("init_args") or {}).get("regularizer") or {}
        if str(regularizer.get("class_path")).endswith(".BarlowTwins"):
            return name, (regularizer.get("init_args") or {}).get("projector")
    return None


@torch.no_grad()
def _matrix(
    encoder: VideoEncoder, projector: Projector | None, clips: UInt8[Tensor, "B 3 T H W"]
) -> Float[Tensor, "E E"]:
    generator = torch.Generator().manual_seed(0)
    halves: tuple[list[Tensor], list[Tensor]] = ([], [])
    for batch in clips.split(BATCH):
        num_tokens = encoder.grid_of(batch).num_tokens
        order = torch.rand(len(batch), num_tokens, generator=generator).argsort(dim=1)
        for half, ids in zip(halves, order.tensor_split(2, dim=1), strict=True):
            half.append(encoder(normalize_clips(batch), ids.sort(dim=1).values).mean(dim=1))
    first, second = (torch.cat(half) if projector is None else projector(torch.cat(half)) for half in halves)
    return cross_correlation(first, second)
