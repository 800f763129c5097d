"""Opens a model of any format, which it detects."""

import difflib
from dataclasses import replace
from pathlib import Path

from vjepa.interop import hugging_face, native
from vjepa.interop.hugging_face import read_hugging_face
from vjepa.interop.hugging_face.hub import hub_folder, is_hub_name
from vjepa.interop.loading import read_checkpoint
from vjepa.interop.native import read_native
from vjepa.interop.networks import whole_settings
from vjepa.interop.packaged import (
    RUN_SETTINGS,
    WEIGHTS_FOLDER,
    packaged_names,
    packaged_run,
    packaged_weights,
    read_packaged_run,
)
from vjepa.interop.portable import Origin, Part, PortableModel
from vjepa.interop.recipe import find_recipe, read_recipe
from vjepa.interop.released import Hints, from_released
from vjepa.interop.report import Report
from vjepa.interop.run_folder import (
    EncoderName,
    PretrainedRun,
    RunSettings,
    checkpoint_in,
    read_run,
    read_settings,
    untrained_model,
)
from vjepa.models import VideoEncoder


def open_model(
    path: str | Path,
    which: str | None = None,
    num_heads: int | None = None,
    predictor_num_heads: int | None = None,
    image_size: int | None = None,
    encoder_only: bool = False,
) -> tuple[PortableModel, Report]:
    """Read a model of any format, all of its weights or nothing.

    Args:
        path: a released `.pt` or `.pth.tar`, a Hugging Face or native folder, a run's folder or `.ckpt`; the name of
            packaged weights ("synthetic") or of a model of the Hugging Face hub; or a recipe or its name (weights are
            then random).
        which: of several encoders: "ema_encoder", "target_encoder" or "encoder" of a released file, "target" or
            "context" of a run; the moving average if None.
        num_heads: of the encoder, for released files of a width that no released model has.
        predictor_num_heads: the same for its predictor.
        image_size: height and width of clips in pixels, in place of the source's.
        encoder_only: leave predictor and probes of a released file unread.

    Raises ValueError, with a sentence or the report, where there is no model or weights do not fit.
    """
    found = _found(Path(path))
    hints = Hints(which, num_heads, predictor_num_heads, image_size, encoder_only)
    if found.is_dir():
        model, report = _read_folder(found, which)
    elif found.suffix in (".yaml", ".yml"):
        _refuse_which(found, which)
        model, report = untrained_model(found)
    elif found.suffix == ".safetensors":
        if not any((found.parent / name).exists() for name in (native.SETTINGS, hugging_face.CONFIG)):
            raise ValueError(
                f"{found} holds weights without settings, and there is no {native.SETTINGS} or {hugging_face.CONFIG} "
                f"beside it"
            )
        model, report = _read_folder(found.parent, which)
    else:
        content = read_checkpoint(found, lazily=True)
        is_run = "state_dict" in content and (found.suffix == ".ckpt" or "pytorch-lightning_version" in content)
        if not is_run:
            return from_released(content, found, hints)
        model, report = read_run(found).portable(which)
    _require_heads(model, found, num_heads)
    if image_size is not None:
        model = replace(model, preprocessing=replace(model.preprocessing, crop_size=(image_size, image_size)))
    return model, report


def encoder_part_of(
    path: str | Path, which: str | None = None, num_heads: int | None = None, image_size: int | None = None
) -> Part:
    """Settings and weights of a model's encoder. Raises ValueError as `open_model`, and where it has none."""
    return with_encoder(path, which, num_heads, image_size)[1]


def with_encoder(
    path: str | Path, which: str | None = None, num_heads: int | None = None, image_size: int | None = None
) -> tuple[PortableModel, Part]:
    """A model with at least its encoder, and the encoder. Raises ValueError where it has none."""
    model, _ = open_model(path, which, num_heads, image_size=image_size, encoder_only=True)
    return model, _encoder_of(model, path)


def open_run(
    path: Path,
    which: EncoderName = "target",
    num_heads: int | None = None,
    image_size: int | None = None,
    settings: Path | None = None,
) -> PretrainedRun:
    """A model of any format as a run, for evaluations; its untrained networks are then drawn by seed 0.

    Args:
        path, num_heads, image_size: as for `open_model`.
        which: the target encoder (the moving average), or the context encoder.
        settings: a run's config.yaml, where it is not in the checkpoint's run folder.

    Raises ValueError as `open_model`, and where there is no encoder.
    """
    checkpoint = checkpoint_in(path)
    if checkpoint.suffix == ".ckpt":
        return read_run(checkpoint, settings)
    if (folder := packaged_run(path)) is not None:
        return _read_packaged_run(path, folder)
    model, _ = open_model(path, None if which == "target" else which, num_heads, image_size=image_size)
    encoder, predictor = _encoder_of(model, path), model.predictor
    weights = {f"encoder.{name}": tensor for name, tensor in encoder.weights.items()}
    if predictor is not None:
        weights |= {f"predictor.{name}": tensor for name, tensor in predictor.weights.items()}
    networks = RunSettings(encoder.settings, None if predictor is None else predictor.settings, {}, seed=0)
    return PretrainedRun(Path(path), weights, networks, step=None)


def _encoder_of(model: PortableModel, path: str | Path) -> Part:
    if model.encoder is None:
        raise ValueError(f"{path} holds probes without an encoder; give the file that has their encoder")
    return model.encoder


def _found(path: Path) -> Path:
    if path.exists():
        return path
    found = packaged_weights(path) or find_recipe(str(path))
    if found is None and is_hub_name(str(path)):
        return hub_folder(str(path))
    if found is None:
        near = difflib.get_close_matches(str(path), packaged_names(), n=1)
        hint = f"did you mean '{near[0]}', which comes with the package?" if near else "give the path of a model"
        raise ValueError(f"there is no file, folder or recipe {path}; {hint}")
    return found


def _read_folder(folder: Path, which: str | None) -> tuple[PortableModel, Report]:
    if (last := checkpoint_in(folder)) != folder:
        return read_run(last).portable(which)
    if folder.parent == WEIGHTS_FOLDER and (folder / RUN_SETTINGS).exists():
        model, report = _read_packaged_run(folder, folder).portable(which)
        origin = Origin(**read_recipe(folder / RUN_SETTINGS)["origin"])
        return replace(model, origin=replace(origin, encoder=model.origin.encoder)), report
    _refuse_which(folder, which)
    if (folder / native.SETTINGS).exists():
        return read_native(folder)
    if (folder / hugging_face.CONFIG).exists():
        return read_hugging_face(folder)
    raise ValueError(
        f"{folder} holds no model: neither {native.SETTINGS} (native) nor {hugging_face.CONFIG} (Hugging Face) nor "
        f"checkpoints/last.ckpt (a run)"
    )


def _read_packaged_run(name: Path, folder: Path) -> PretrainedRun:
    file = folder / RUN_SETTINGS
    if read_recipe(file)["model"]["class_path"] == "vjepa.training.WorldModel":
        raise ValueError(
            f"'{folder.name}' is a world model; use it with `vjepa plan`, `vjepa surprise` or `vjepa convert --to onnx`"
        )
    return PretrainedRun(name, read_packaged_run(folder)["state_dict"], read_settings(file), step=None)


def _refuse_which(path: Path, which: str | None) -> None:
    if which is not None:
        raise ValueError(f"{path} has one encoder; leave out which ('{which}')")


def _require_heads(model: PortableModel, path: Path, num_heads: int | None) -> None:
    if num_heads is None or model.encoder is None:
        return
    known = whole_settings(VideoEncoder, model.encoder.settings)["num_heads"]
    if known != num_heads:
        raise ValueError(f"num_heads ({num_heads}) must be that of {path}, {known}; leave it out")
