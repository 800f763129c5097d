"""Initial weights of a run: from a checkpoint of ours, or from a model of any format that `vjepa.interop` reads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vjepa.interop import encoder_part_of, open_model
from vjepa.interop.loading import load_all, read_run_checkpoint
from vjepa.interop.networks import build, outline, trained_mask_tokens
from vjepa.interop.portable import Part
from vjepa.interop.renamed import renamed_weights
from vjepa.models import Predictor, VideoEncoder


def load_initial_weights(module: nn.Module, path: Path) -> list[str]:
    """Load encoder, predictor and target encoder into a `JEPA`, all of each or nothing.

    Returns notes for the user: which parts start untrained, which mask token was taken. Raises ValueError with every
    missing, unexpected and reshaped name.
    """
    if path.suffix == ".ckpt":
        load_all(module, renamed_weights(read_run_checkpoint(path)["state_dict"]), path)
        return []
    model, report = open_model(path)
    if model.encoder is None:
        raise ValueError(f"{path} holds no encoder to start from")
    parts = dict(module.named_children())
    # The trained encoder, where the file holds it beside its moving average.
    has_both = not {"encoder", "context_encoder"}.isdisjoint(report.dropped)
    context = encoder_part_of(path, "encoder") if has_both else model.encoder
    notes = [f"encoders start with those of {path} ({model.family})"]
    _require_same_positions(parts["context_encoder"], VideoEncoder, model.encoder, "encoder", path)
    load_all(parts["context_encoder"], context.weights, path)
    load_all(parts["target_encoder"], model.encoder.weights, path)
    if "predictor" not in parts:
        return notes
    if model.predictor is None:
        return [*notes, f"{path} holds no predictor: it starts untrained"]
    _require_same_positions(parts["predictor"], Predictor, model.predictor, "predictor", path)
    weights, note = _with_as_many_mask_tokens(parts["predictor"].state_dict(), model.predictor.weights)
    load_all(parts["predictor"], weights, path)
    return [*notes, note] if note else notes


def read_teacher(path: Path, predictor: Predictor) -> VideoEncoder:
    """The encoder of a student's targets. Raises ValueError where the predictor's width differs from its own."""
    teacher = build(VideoEncoder, encoder_part_of(path), str(path))
    width = teacher.embed_dim * predictor.num_levels
    if predictor.target_dim != width:
        raise ValueError(
            f"the predictor's target_dim ({predictor.target_dim}) must be the width of the teacher's tokens, "
            f"{predictor.num_levels} level(s) of {teacher.embed_dim}; give --model.predictor.target_dim={width}"
        )
    if predictor.num_levels not in (1, teacher.num_output_levels):
        raise ValueError(
            f"the predictor's num_levels ({predictor.num_levels}) must be 1 or the teacher's number of output levels "
            f"({teacher.num_output_levels})"
        )
    return teacher


def _require_same_positions(
    ours: nn.Module, network: type[VideoEncoder] | type[Predictor], part: Part, name: str, path: Path
) -> None:
    """No weight shows the number of heads or the kind of position, and with others the weights mean something else."""
    assert isinstance(ours, network)
    theirs, known = outline(network, part.settings).position, ours.position
    for key, given, expected in (
        ("position", theirs.kind, known.kind),
        ("channels per head", theirs.head_dim, known.head_dim),
    ):
        if given != expected:
            raise ValueError(f"the {name} of {path} has {key} {given}, this run's has {expected}; make them equal")


def _with_as_many_mask_tokens(
    wanted: Mapping[str, Any], found: dict[str, Tensor]
) -> tuple[dict[str, Tensor], str | None]:
    """A predictor's weights with this run's number of mask tokens, and what was done to them.

    Released files hold ten, of which training with one number of frames touched one: the trained ones come first here,
    the others are left at zero, as they were.
    """
    wanted_names, names = ([name for name in each if name.startswith("mask_tokens.")] for each in (wanted, found))
    if len(wanted_names) == len(names):
        return found, None
    trained = {f"mask_tokens.{number}" for number in trained_mask_tokens(found)}
    values = [found[name] for name in sorted(names, key=lambda name: name not in trained)]  # stable
    weights = {name: tensor for name, tensor in found.items() if name not in names}
    for number, name in enumerate(wanted_names):
        weights[name] = values[number] if number < len(values) else torch.zeros_like(values[0])
    return weights, f"{len(names)} mask tokens, {len(trained)} of them trained, became {len(wanted_names)}"
