"""What a recipe or a run's config.yaml says of its networks and clips."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import nn

from vjepa.interop.networks import outline, require_fit, whole_settings
from vjepa.interop.portable import Origin, Part, PortableModel, Preprocessing
from vjepa.interop.report import Report
from vjepa.models import Predictor, VideoEncoder

RECIPES = Path("configs/pretrain")


class RecipeSettings(NamedTuple):
    encoder: dict[str, Any]
    predictor: dict[str, Any] | None  # where nothing is predicted
    data: dict[str, Any]
    seed: int  # of the run's weights; 0 where none is given


def read_recipe(file: Path) -> RecipeSettings:
    """Settings of a recipe or of a run. Raises ValueError where the file holds none."""
    try:
        recipe = _nested(yaml.safe_load(file.read_text()))
        parts = recipe["model"]["init_args"]
        encoder = dict(parts["encoder"])
        predictor = dict(parts["predictor"]) if "predictor" in parts else None
        data = dict(recipe["data"]["init_args"])
        seed = recipe.get("seed_everything")
    except FileNotFoundError:
        raise ValueError(f"there is no recipe {file}") from None
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{file} holds no settings of a vjepa run (model.init_args.encoder, data.init_args)") from None
    try:
        width = whole_settings(VideoEncoder, encoder)["embed_dim"]
    except ValueError as error:
        raise ValueError(f"the encoder's settings in {file} don't fit: {error}") from None
    if predictor is not None:
        # The command line links it to the encoder, and leaves it out of the settings that it writes.
        predictor["encoder_dim"] = width
    return RecipeSettings(encoder, predictor, data, seed if type(seed) is int else 0)


def untrained_model(file: Path) -> tuple[PortableModel, Report]:
    """Networks of a recipe as they are before training, by seed 0."""
    report = Report(str(file), "recipe")
    settings = read_recipe(file)
    outline(VideoEncoder, settings.encoder)  # raises ValueError before memory is taken
    if settings.predictor is not None:
        outline(Predictor, settings.predictor)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = _drawn(VideoEncoder, settings.encoder)
        predictor = None if settings.predictor is None else _drawn(Predictor, settings.predictor)
    model = PortableModel(
        "vjepa",
        encoder,
        predictor,
        preprocessing=preprocessing_of(settings.data),
        origin=Origin(str(file), data="none: random weights, seed 0", command=f"vjepa fit -c {file} trains them"),
    )
    report.notes.append("weights are random (seed 0): a recipe has none")
    require_fit(model, report)
    return model, report


def _drawn(network: type[nn.Module], settings: dict[str, Any]) -> Part:
    return Part(whole_settings(network, settings), network(**settings).state_dict())


def preprocessing_of(data: Mapping[str, Any]) -> Preprocessing:
    """How a run cuts its clips, by the settings of its `ClipDataModule`."""

    def value(name: str) -> Any:
        if name in data:
            return data[name]
        from vjepa.data.clips.data_module import ClipDataModule  # late: it brings Lightning

        return inspect.signature(ClipDataModule).parameters[name].default

    num_frames, frame_step = value("num_frames"), value("frame_step")
    # Of fps, frame_step and duration a recipe gives one.
    fps = None if frame_step is not None else value("fps") or num_frames / value("duration")
    height, width = value("crop_size")
    return Preprocessing(num_frames, (height, width), fps, frame_step)


def data_of(data: Mapping[str, Any]) -> str | None:
    """The manifests of a recipe, in words."""
    sources = [each["manifest"] for each in data.get("mixture") or []] or [data.get("train_manifest")]
    return ", ".join(str(source) for source in sources if source) or None


def find_recipe(name: str) -> Path | None:
    """The recipe of this name among those of the repository, or None."""
    if "/" in name or name.startswith("."):
        return None
    folders = (RECIPES, Path(__file__).parents[2] / RECIPES)
    return next((folder / f"{name}.yaml" for folder in folders if (folder / f"{name}.yaml").is_file()), None)


def _nested(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe whose dotted keys are put where they belong, later ones over earlier ones."""
    nested: dict[str, Any] = {}
    for key, value in recipe.items():
        *path, last = key.split(".")
        place = nested
        for name in path:
            place = place.setdefault(name, {})
        place[last] = value
    return nested
