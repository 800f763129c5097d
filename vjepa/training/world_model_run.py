"""Reads a world model from its run: networks by config.yaml, weights by a checkpoint."""

import importlib
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse import ArgumentError, ArgumentParser

from vjepa.data.episodes.data_module import EpisodeDataModule
from vjepa.interop.loading import load_all, read_run_checkpoint
from vjepa.interop.networks import seeded
from vjepa.interop.packaged import RUN_SETTINGS, packaged_run, packaged_weights, read_packaged_run
from vjepa.interop.recipe import read_recipe
from vjepa.interop.run_folder import checkpoint_in, settings_beside
from vjepa.training.world_model import WorldModel


class WorldModelRun(NamedTuple):
    """A trained model, frozen, and its settings."""

    checkpoint: Path
    model: WorldModel
    step: int
    settings: dict[str, Any]  # of config.yaml

    @property
    def name(self) -> str:
        """The run's folder, e.g. "two_rooms/version_0", or the name of packaged weights."""
        if packaged_weights(self.checkpoint):
            return str(self.checkpoint)
        folder = self.checkpoint.resolve().parent.parent
        return f"{folder.parent.name}/{folder.name}"

    @property
    def title(self) -> str:
        """Name and step, for tables."""
        return f"{self.name}, step {self.step}"

    def untrained_model(self) -> WorldModel:
        """The model before training, drawn by the run's seed, with the same units of actions."""
        seed = self.settings.get("seed_everything")
        with seeded(seed if type(seed) is int else 0):
            model: WorldModel = _built("model", WorldModel, self.settings, self.checkpoint)
        model.actions.load_state_dict(self.model.actions.state_dict())
        return model.eval().requires_grad_(False)

    def data(self) -> EpisodeDataModule:
        """Its training data. Raises ValueError where the settings have none."""
        return _built("data", EpisodeDataModule, self.settings, _settings_of(self.checkpoint))

    def folder(self, runs: Path) -> Path:
        """Where results go: the run's folder, or one below `runs` for packaged weights."""
        return runs / self.name if packaged_weights(self.checkpoint) else self.checkpoint.parent.parent


def holds_world_model(checkpoint: Path, settings: Path | None = None) -> bool:
    """Whether a checkpoint is of a run on a world model, by its settings."""
    packaged = packaged_weights(checkpoint)
    file = settings or (packaged or checkpoint.resolve().parent.parent) / RUN_SETTINGS
    is_run = packaged is not None or checkpoint.suffix == ".ckpt"
    kind = _class_of_model(read_recipe(file)) if is_run and file.exists() else None
    return kind is not None and issubclass(kind, WorldModel)


def read_world_model(
    path: Path,  # a checkpoint, a run's folder, or the name of packaged weights
    settings: Path | None = None,  # the run's config.yaml; the one in the checkpoint's run folder if None
) -> WorldModelRun:
    """Read a checkpoint of `vjepa fit`, safely and whole.

    Raises ValueError where it or the run's settings are missing or broken, or it is of another kind of model.
    """
    checkpoint = checkpoint_in(path)
    if checkpoint.is_dir():
        raise ValueError(f"{path} is no folder of a run: it has no checkpoints/last.ckpt")
    content = _content_of(checkpoint)
    file = settings or _settings_of(checkpoint)
    given = read_recipe(file)
    kind = _class_of_model(given)
    if kind is None or not issubclass(kind, WorldModel):
        of_what = "a model" if kind is None else f"a {kind.__name__}"
        raise ValueError(
            f"{checkpoint} is of {of_what}, which predicts nothing from actions; give the checkpoint of a world "
            f"model (`make worldmodel` trains one)"
        )
    if "encoder_settings" in content:  # of a PretrainedFrameEncoder, whose file may be no more
        given["model"]["init_args"]["encoder"]["init_args"]["settings"] = content["encoder_settings"]
    model = _built("model", WorldModel, given, file)
    model.on_load_checkpoint(content)
    load_all(model, content["state_dict"], checkpoint)
    model.eval().requires_grad_(False)
    return WorldModelRun(checkpoint, model, int(content.get("global_step", 0)), given)


def _content_of(checkpoint: Path) -> dict[str, Any]:
    if packaged_weights(checkpoint) is None:
        return read_run_checkpoint(checkpoint)
    folder = packaged_run(checkpoint)
    if folder is None:
        raise ValueError(f"the packaged weights '{checkpoint}' are of an encoder of clips, not of a world model")
    return read_packaged_run(folder)


def _settings_of(checkpoint: Path) -> Path:
    folder = packaged_weights(checkpoint)
    return settings_beside(checkpoint) if folder is None else folder / RUN_SETTINGS


def _class_of_model(settings: dict[str, Any]) -> type | None:
    model = settings.get("model")
    path = model.get("class_path") if isinstance(model, dict) else None
    if not isinstance(path, str):
        return None
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except (ImportError, ValueError):
        return None
    return found if isinstance(found, type) else None


def _built(part: str, base: type, settings: dict[str, Any], file: Path) -> Any:
    """The object of a section of the settings (class_path, init_args)."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument(f"--{part}", type=base)
    try:
        given = parser.parse_object({part: settings[part]})
        return parser.instantiate(given)[part]
    except (KeyError, ArgumentError, TypeError) as error:
        raise ValueError(f"the {part} in {file} can't be built: {' '.join(str(error).split())}") from None
