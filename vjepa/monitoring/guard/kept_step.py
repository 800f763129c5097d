"""A training step on disk: the weights before it, every rank's batch, and its loss; it can be run again alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from vjepa.data.atomic_file import new_file
from vjepa.data.clips.batch import ClipBatch, Views
from vjepa.data.clips.data_module import ClipDataModule
from vjepa.data.episodes.batch import EpisodeBatch
from vjepa.interop.loading import load_all, read_checkpoint
from vjepa.masking import TubeMask
from vjepa.training.scheduled_module import ScheduledModule

Batch = ClipBatch | EpisodeBatch
WEIGHTS = "weights.pt"


class KeptStep(NamedTuple):
    """What `keep_step` has written."""

    step: int  # steps that came before it
    reason: str
    losses: list[float]  # of each rank
    gradient_norm: float
    batches: list[list[Batch]]  # of each rank, those that one step accumulates
    paths: list[list[str]]  # of each rank, its files in the batches' order


def keep_step(
    folder: Path, trainer: Trainer, module: ScheduledModule, batches: Sequence[Batch], facts: dict[str, Any]
) -> None:
    """Write `rank_{r}.pt`, and on rank 0 `weights.pt`. All ranks call it together."""
    weights = trainer.strategy.lightning_module_state_dict()  # a collective where weights are in shards
    folder.mkdir(parents=True, exist_ok=True)
    data = trainer.datamodule  # type: ignore[attr-defined]
    content = facts | {
        "kind": type(batches[0]).__name__,
        "batches": [_plain(batch) for batch in batches],
        "paths": [path for batch in batches for path in _paths_of(batch, data)],
    }
    with new_file(folder / f"rank_{trainer.global_rank}.pt") as temporary:
        torch.save(content, temporary)
    if trainer.is_global_zero:
        with new_file(folder / WEIGHTS) as temporary:
            torch.save({name: tensor.cpu() for name, tensor in weights.items()}, temporary)


def read_kept_step(folder: Path) -> KeptStep:
    """Raises ValueError where the folder is none of `keep_step`, or a file is damaged."""
    files = sorted(folder.glob("rank_*.pt"), key=lambda file: int(file.stem.rpartition("_")[2]))
    if not files or not (folder / WEIGHTS).exists():
        raise ValueError(
            f"{folder} holds no skipped step: it must have {WEIGHTS} and rank_0.pt, as in RUN/skipped/step_9"
        )
    parts = [read_checkpoint(file) for file in files]
    try:
        first = parts[0]
        if len(files) != first["num_ranks"]:
            raise ValueError(f"{folder} has files of {len(files)} ranks of {first['num_ranks']}; copy them all")
        return KeptStep(
            first["step"],
            first["reason"],
            [part["loss"] for part in parts],
            first["gradient_norm"],
            [[_batch(part["kind"], each) for each in part["batches"]] for part in parts],
            [part["paths"] for part in parts],
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{files[0]} is not as a run writes it: {error!r}") from None


def replayed_loss(kept: KeptStep, folder: Path, module: ScheduledModule) -> float:
    """The loss of a kept step, by its weights, on this device; of several ranks that of their common batch.

    Raises ValueError where the weights are of another model, or the ranks' batches differ in shape.
    """
    load_all(module, read_checkpoint(folder / WEIGHTS), folder / WEIGHTS)
    module.train()
    module.replayed_step = kept.step
    losses = []
    with torch.no_grad():
        for parts in zip(*kept.batches, strict=True):
            losses.append(float(module.step(_joined(parts)).losses["loss"]))
    return sum(losses) / len(losses)


def _plain(batch: Batch) -> dict[str, Any]:
    """Tensors and lists alone, which are read without code."""
    fields = batch._asdict()
    if isinstance(batch, ClipBatch):
        fields |= {"masks": [list(mask) for mask in batch.masks], "views": [list(views) for views in batch.views]}
        del fields["failures"]
    return {name: _on_cpu(value) for name, value in fields.items()}


def _on_cpu(value: Any) -> Any:
    if isinstance(value, list):
        return [_on_cpu(each) for each in value]
    return value.detach().cpu() if isinstance(value, Tensor) else value


def _batch(kind: str, fields: dict[str, Any]) -> Batch:
    if kind == EpisodeBatch.__name__:
        return EpisodeBatch(**fields)
    masks, views = [TubeMask(*each) for each in fields["masks"]], [Views(*each) for each in fields["views"]]
    return ClipBatch(**fields | {"masks": masks, "views": views, "failures": []})


def _joined(parts: Sequence[Batch]) -> Batch:
    """The batch of all ranks."""
    if len(parts) == 1:
        return parts[0]
    plain = [_plain(part) for part in parts]
    try:
        return _batch(
            type(parts[0]).__name__, {name: _concatenated([each[name] for each in plain]) for name in plain[0]}
        )
    except RuntimeError:  # of torch.cat
        raise ValueError("the ranks' batches have masks of other lengths, so they can't be run as one") from None


def _concatenated(values: Sequence[Any]) -> Any:
    if isinstance(values[0], list):
        return [_concatenated(each) for each in zip(*values, strict=True)]
    return torch.cat(list(values)) if isinstance(values[0], Tensor) else values[0]


def _paths_of(batch: Batch, data: object) -> list[str]:
    if isinstance(batch, ClipBatch) and isinstance(data, ClipDataModule):
        rows = zip(batch.sources.tolist(), batch.rows.tolist(), strict=True)
        return [str(data.train[source].manifest.paths[row]) for source, row in rows]
    if isinstance(batch, EpisodeBatch):
        return [f"episode {each}" for each in batch.episodes.tolist()]
    return []
