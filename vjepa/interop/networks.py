"""Networks from settings and weights. The signatures of constructors define the settings."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vjepa.interop.loading import load_all, weight_differences
from vjepa.interop.portable import Part, PortableModel
from vjepa.interop.report import Report
from vjepa.models import SIZES, ActionPredictor, AttentiveProbe, Predictor, VideoEncoder
from vjepa.models.position import Position

Network = TypeVar("Network", bound=nn.Module)

# Settings of training without effect on a trained network.
_WITHOUT_EFFECT_ON_WEIGHTS = ("activation_checkpointing", "zero_init_mask_tokens")


def parts_of(model: PortableModel) -> dict[str, tuple[type[nn.Module], Part]]:
    """The networks of a model by the prefixes of their weights in files."""
    parts: dict[str, tuple[type[nn.Module], Part | None]] = {
        "encoder": (VideoEncoder, model.encoder),
        "predictor": (Predictor, model.predictor),
        "action_predictor": (ActionPredictor, model.action_predictor),
    }
    parts |= {f"classifiers.{number}": (AttentiveProbe, part) for number, part in enumerate(model.classifiers)}
    return {name: (network, part) for name, (network, part) in parts.items() if part is not None}


def whole_settings(network: type[nn.Module], settings: Mapping[str, Any]) -> dict[str, Any]:
    """All keyword arguments that determine the output of a network, defaults included; lists as tuples.

    Raises ValueError for an unknown keyword.
    """
    defaults = {name: each.default for name, each in inspect.signature(network).parameters.items()}
    unknown = [name for name in settings if name not in defaults]
    if unknown:
        raise ValueError(f"{network.__name__} has no setting {', '.join(unknown)}; it has {', '.join(defaults)}")
    values = {name: as_tuple(settings.get(name, default)) for name, default in defaults.items()}
    if network is VideoEncoder:
        row = SIZES[values.pop("size")]._asdict()
        values |= {name: values[name] or value for name, value in row.items()}
    if network is Predictor:
        values["target_dim"] = values["target_dim"] or values["num_levels"] * values["encoder_dim"]
    return {name: value for name, value in values.items() if name not in _WITHOUT_EFFECT_ON_WEIGHTS}


def outline(network: type[Network], settings: Mapping[str, Any]) -> Network:
    """A network on the meta device: names and shapes of weights. Raises ValueError where settings don't fit."""
    with torch.device("meta"):
        try:
            return network(**settings)
        except TypeError as error:
            raise ValueError(f"these settings are no {network.__name__}'s: {error}") from None


def build(network: type[Network], part: Part, source: str) -> Network:
    """A network with these weights in fp32, without drawing initial ones. Raises ValueError where they don't fit."""
    module = outline(network, part.settings).to_empty(device="cpu")
    load_all(module, part.weights, source)
    for name, child in list(module.named_children()):
        if isinstance(child, Position):  # its table is not a weight, so the meta device left it empty
            heads = child.embed_dim // child.head_dim
            setattr(module, name, Position(child.kind, child.embed_dim, heads, child.position_grid))
    return module


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw initial weights by this seed; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def note_fit(name: str, network: type[nn.Module], part: Part, report: Report) -> None:
    """Add to the report how weights differ from the network of these settings."""
    differences = weight_differences(outline(network, part.settings).state_dict(), part.weights)
    for kind, keys in differences._asdict().items():
        getattr(report, kind).extend(f"{name}.{key}" for key in keys)


def require_fit(model: PortableModel, report: Report) -> None:
    """Raises ValueError with the report's text where any weight is missing, unexpected or reshaped."""
    for name, (network, part) in parts_of(model).items():
        note_fit(name, network, part, report)
    if model.predictor is not None:
        report.trained_mask_tokens = trained_mask_tokens(model.predictor.weights)
    report.require_fit()


def trained_mask_tokens(predictor: Mapping[str, Tensor]) -> list[int]:
    """Indices of the mask tokens that are not all zero."""
    tokens = [(name, token) for name, token in predictor.items() if name.startswith("mask_tokens.")]
    return [int(name.rpartition(".")[2]) for name, token in tokens if not token.is_meta and bool(token.any())]


def as_tuple(value: Any) -> Any:
    """Lists of YAML and JSON as the tuples of constructors."""
    return tuple(value) if isinstance(value, list) else value
