"""Networks and clips of a pretraining run or a recipe, by its settings; a run's with the weights of its checkpoint."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from torch import Tensor, nn

from vjepa.interop.loading import load_all, read_run_checkpoint
from vjepa.interop.networks import outline, require_fit, seeded, whole_settings
from vjepa.interop.portable import Origin, Part, PortableModel, Preprocessing
from vjepa.interop.recipe import read_recipe
from vjepa.interop.renamed import note
from vjepa.interop.report import Report
from vjepa.models import Predictor, VideoEncoder

EncoderName = Literal["target", "context"]
Opened = TypeVar("Opened")
_ALIASES: dict[str, EncoderName] = {"target_encoder": "target", "encoder": "context", "context_encoder": "context"}


class RunSettings(NamedTuple):
    """Keyword arguments of the networks and of the `ClipDataModule`."""

    encoder: dict[str, Any]
    predictor: dict[str, Any] | None  # None for a model without one
    data: dict[str, Any]
    seed: int  # of the initial weights; 0 by default


class PretrainedRun(NamedTuple):
    """Weights and settings of a run, or of a model in another format."""

    checkpoint: Path
    weights: dict[str, Tensor]
    settings: RunSettings
    step: int | None  # None in another format

    @property
    def named(self) -> str:
        """File and step."""
        return str(self.checkpoint) if self.step is None else f"{self.checkpoint}, step {self.step}"

    @property
    def title(self) -> str:
        """Name and step, for tables."""
        if self.step is None:
            return self.checkpoint.name
        return f"{self.checkpoint.resolve().parents[2].name}, step {self.step}"

    @property
    def seed(self) -> int:
        """Seed of the initial weights."""
        return self.settings.seed

    def encoder(self, which: EncoderName = "target") -> VideoEncoder:
        """The trained encoder. Raises ValueError where weights and settings don't fit."""
        encoder = self._new_encoder()
        load_all(encoder, self._below(self._prefix_of(which)), self.checkpoint)
        return encoder

    def predictor(self) -> Predictor:
        """The trained predictor. Raises ValueError where the run has none, or weights and settings don't fit."""
        predictor = self._new_predictor()
        load_all(predictor, self._below("predictor."), self.checkpoint)
        return predictor

    def untrained_encoder(self) -> VideoEncoder:
        """The encoder before training, drawn by the run's seed."""
        with seeded(self.seed):
            return self._new_encoder()

    def untrained_networks(self) -> tuple[VideoEncoder, Predictor]:
        """Encoder and predictor before training, drawn by the run's seed."""
        with seeded(self.seed):
            return self._new_encoder(), self._new_predictor()

    def require_predictor(self) -> None:
        """Raises ValueError where there is none of the encoder's own tokens."""
        known = whole_settings(Predictor, self._predictor_settings())
        if known["target_dim"] != known["num_levels"] * known["encoder_dim"]:
            raise ValueError(f"the predictor of {self.checkpoint} predicts pixels or a teacher's tokens")

    def _predictor_settings(self) -> dict[str, Any]:
        if self.settings.predictor is None:
            raise ValueError(f"{self.checkpoint} has no predictor; give a run of JEPA")
        return self.settings.predictor

    def _new_predictor(self) -> Predictor:
        return Predictor(**self._predictor_settings())

    def _new_encoder(self) -> VideoEncoder:
        try:
            return VideoEncoder(**self.settings.encoder)
        except TypeError as error:
            raise ValueError(f"the encoder's settings beside {self.checkpoint} don't fit: {error}") from None

    def portable(self, which: str | None = None) -> tuple[PortableModel, Report]:
        """Encoder and predictor. Raises ValueError where there is no such encoder, or weights don't fit."""
        name = _ALIASES.get(which or "target", which or "target")
        if name not in ("target", "context"):
            raise ValueError(f"{self.checkpoint} has no encoder '{which}'; a run has target and context")
        report = Report(self.named, f"run, {name} encoder")
        prefix = self._prefix_of(name)
        taken = (prefix, "predictor.")
        others = sorted({key.partition(".")[0] for key in self.weights if not key.startswith(taken)})
        report.dropped += [*others, "optimizer and loops"]
        model = PortableModel(
            "vjepa",
            Part(whole_settings(VideoEncoder, self.settings.encoder), self._below(prefix)),
            self._portable_predictor(),
            preprocessing=preprocessing_of(self.settings.data),
            origin=Origin(
                self.named,
                f"{name} encoder",
                data_of(self.settings.data),
                f"vjepa fit -c {self.checkpoint.resolve().parent.parent / 'config.yaml'}",
            ),
        )
        require_fit(model, report)
        return model, report

    def _portable_predictor(self) -> Part | None:
        if self.settings.predictor is None:
            return None
        return Part(whole_settings(Predictor, self.settings.predictor), self._below("predictor."))

    def _prefix_of(self, which: str) -> str:
        """What an encoder's weights are named by. A pixel baseline has one encoder, whichever is asked for."""
        return "encoder." if any(name.startswith("encoder.") for name in self.weights) else f"{which}_encoder."

    def _below(self, prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in self.weights.items() if name.startswith(prefix)}


def read_run(
    checkpoint: Path,
    settings: Path | None = None,  # the run's config.yaml; the one in the checkpoint's run folder if None
) -> PretrainedRun:
    """Read a checkpoint of `vjepa fit`. Raises ValueError where it or the run's settings are missing or broken."""
    content = read_run_checkpoint(checkpoint)
    step = int(content.get("global_step", 0))
    return PretrainedRun(
        checkpoint, content["state_dict"], read_settings(settings or settings_beside(checkpoint)), step
    )


def read_settings(file: Path) -> RunSettings:
    """Settings of a recipe or a run's config.yaml. Raises ValueError where the file has none, or they don't fit."""
    recipe = read_recipe(file)
    try:
        parts = recipe["model"]["init_args"]
        encoder = dict(parts["encoder"])
        if "class_path" in encoder:  # of single frames
            kind = recipe["model"]["class_path"].rpartition(".")[2]
            raise ValueError(f"{file} is of a {kind}, which has no encoder of clips; give a run of `make pretrain`")
        predictor = None if parts.get("predictor") is None else dict(parts["predictor"])
        data = dict(recipe["data"]["init_args"])
    except (KeyError, TypeError):
        raise ValueError(f"{file} holds no settings of a vjepa run (model.init_args.encoder, data.init_args)") from None
    try:
        width = whole_settings(VideoEncoder, encoder)["embed_dim"]
    except ValueError as error:
        raise ValueError(f"the encoder's settings in {file} don't fit: {error}") from None
    if predictor is not None:
        predictor["encoder_dim"] = width  # linked by the command line, which does not write linked values
    seed = recipe.get("seed_everything")
    return RunSettings(encoder, predictor, data, seed if type(seed) is int else 0)


def untrained_model(file: Path) -> tuple[PortableModel, Report]:
    """Networks of a recipe before training, with weights of seed 0."""
    report = Report(str(file), "recipe")
    settings = read_settings(file)
    outline(VideoEncoder, settings.encoder)  # raises ValueError before memory is allocated
    if settings.predictor is not None:
        outline(Predictor, settings.predictor)
    with seeded(0):
        encoder = _initial_part(VideoEncoder, settings.encoder)
        predictor = None if settings.predictor is None else _initial_part(Predictor, settings.predictor)
    model = PortableModel(
        "vjepa",
        encoder,
        predictor,
        preprocessing=preprocessing_of(settings.data),
        origin=Origin(str(file), data="none: random weights, seed 0", command=f"vjepa fit -c {file} trains them"),
    )
    report.notes.append("weights are random (seed 0): a recipe has none")
    note(f"{file}: {report.notes[-1]}")
    require_fit(model, report)
    return model, report


def _initial_part(network: type[nn.Module], settings: dict[str, Any]) -> Part:
    return Part(whole_settings(network, settings), network(**settings).state_dict())


def preprocessing_of(data: Mapping[str, Any]) -> Preprocessing:
    """Frames, size and rate of clips, by the settings of a `ClipDataModule`."""

    def value(name: str) -> Any:
        if name in data:
            return data[name]
        from vjepa.data.clips.data_module import ClipDataModule  # late: it imports Lightning

        return inspect.signature(ClipDataModule).parameters[name].default

    num_frames, frame_step = value("num_frames"), value("frame_step")
    # A recipe gives one of fps, frame_step and duration.
    fps = None if frame_step is not None else value("fps") or num_frames / value("duration")
    height, width = value("crop_size")
    return Preprocessing(num_frames, (height, width), fps, frame_step)


def data_of(data: Mapping[str, Any]) -> str | None:
    """The manifests of a recipe, in words."""
    sources = [each["manifest"] for each in data.get("mixture") or []] or [data.get("train_manifest")]
    return ", ".join(str(source) for source in sources if source) or None


def checkpoint_in(path: Path) -> Path:
    """The newest checkpoint of a run's folder; any other path itself."""
    last = path / "checkpoints" / "last.ckpt"
    return last if last.exists() else path


def settings_beside(checkpoint: Path) -> Path:
    """The run's config.yaml. Raises ValueError where it is not in the checkpoint's run folder."""
    file = checkpoint.resolve().parent.parent / "config.yaml"
    if not file.exists():
        raise ValueError(f"the settings of {checkpoint} are not at {file}; give the run's config.yaml with --settings")
    return file


def newest_run(runs: Path, opened: Callable[[Path], Opened], purpose: str, target: str) -> Opened:
    """Of all runs below a folder the one that was written last, of those that `opened` takes.

    Runs that were started or written later and don't fit are named with the reason.

    Args:
        opened: opens a checkpoint, or raises ValueError with the reason why it does not fit.
        purpose: what a run is looked for, for the message.
        target: of `make`, which trains one.

    Raises ValueError where no run fits.
    """
    skipped = ""
    folders = [file.parent for file in runs.glob("*/*/config.yaml")]
    folders += [file.parents[1] for file in runs.glob("*/*/checkpoints/last.ckpt")]
    for folder in sorted(set(folders), key=_last_written, reverse=True):
        checkpoint = folder / "checkpoints" / "last.ckpt"
        try:
            if not checkpoint.exists():
                raise ValueError("it has no checkpoint")
            run = opened(checkpoint)
        except ValueError as error:
            skipped += f"; skipped {folder} ({str(error).partition(chr(10))[0]})"
            continue
        if skipped:
            print(f"the newest run {purpose} is {folder}{skipped}")
        return run
    raise ValueError(
        f"there is no run below {runs} {purpose}; start one (`make {target}`), or give --checkpoint{skipped}"
    )


def _last_written(folder: Path) -> float:
    """When a run's checkpoint was written, or its settings where it has none."""
    files = (folder / "checkpoints" / "last.ckpt", folder / "config.yaml")
    return next(file.stat().st_mtime for file in files if file.exists())
