"""The native format: a folder with weights (safetensors), settings of each network (YAML) and a model card."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import yaml
from torch import nn

from vjepa.data.atomic_file import write_text
from vjepa.interop.loading import read_tensors, write_weights
from vjepa.interop.networks import as_tuple, parts_of, require_fit, whole_settings
from vjepa.interop.portable import Family, Origin, Part, PortableModel, Preprocessing
from vjepa.interop.report import Report
from vjepa.models import ActionPredictor, AttentiveProbe, Predictor, VideoEncoder

WEIGHTS, SETTINGS = "model.safetensors", "model.yaml"
_FORMAT = 1


def read_native(folder: Path) -> tuple[PortableModel, Report]:
    """Read a folder of `write_native`. Raises ValueError where it is not one, or incomplete."""
    report = Report(str(folder), "native")
    content = _read_settings(folder / SETTINGS)
    weights = read_tensors(folder / WEIGHTS)

    def part(name: str, network: type[nn.Module], settings: dict[str, Any]) -> Part:
        names = [each for each in weights if each.startswith(f"{name}.")]
        return Part(
            whole_settings(network, settings), {each.removeprefix(f"{name}."): weights.pop(each) for each in names}
        )

    try:
        single = {"encoder": VideoEncoder, "predictor": Predictor, "action_predictor": ActionPredictor}
        parts = {
            name: part(name, network, content[name])
            for name, network in single.items()
            if content.get(name) is not None
        }
        classifiers = [
            part(f"classifiers.{number}", AttentiveProbe, settings)
            for number, settings in enumerate(content.get("classifiers", []))
        ]
        model = PortableModel(
            content["family"],
            parts.get("encoder"),
            parts.get("predictor"),
            parts.get("action_predictor"),
            classifiers,
            _preprocessing(content["preprocessing"]),
            Origin(**content["origin"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder / SETTINGS} is not as `vjepa convert` writes it: {error}") from None
    report.unexpected += list(weights)
    require_fit(model, report)
    return model, report


def write_native(model: PortableModel, folder: Path) -> None:
    """Write weights first and settings last, so that a folder with settings is complete."""
    parts = parts_of(model)
    weights = {f"{name}.{key}": tensor for name, (_, part) in parts.items() for key, tensor in part.weights.items()}
    settings: dict[str, Any] = {"format": _FORMAT, "family": model.family, "classifiers": []}
    for name, (network, part) in parts.items():
        values = {key: _plain(value) for key, value in whole_settings(network, part.settings).items()}
        if network is AttentiveProbe:
            settings["classifiers"].append(values)
        else:
            settings[name] = values
    settings["preprocessing"] = {key: _plain(value) for key, value in asdict(model.preprocessing).items()}
    settings["origin"] = asdict(model.origin)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS).unlink(missing_ok=True)
    write_weights(weights, folder / WEIGHTS)
    write_text(folder / SETTINGS, yaml.safe_dump(settings, sort_keys=False))


def _read_settings(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text())
    except FileNotFoundError:
        raise ValueError(f"{file.parent} has no {file.name}: it is no native folder, or not whole") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ValueError(f"{file} is no YAML (or was cut short)") from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"{file} is no native model of format {_FORMAT}, the only one that is known")
    if content.get("family") not in get_args(Family):
        raise ValueError(f"{file}: family ({content.get('family')}) must be one of {', '.join(get_args(Family))}")
    return content


def _preprocessing(content: dict[str, Any]) -> Preprocessing:
    return Preprocessing(**{key: as_tuple(value) for key, value in content.items()})


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
