"""LeVJEPA's Hugging Face folder (arXiv 2608.27395; galilai-group/LeVJEPA-VideoMix-Large): an encoder alone.

transformers runs it by code that lies beside the released weights (`trust_remote_code`). Its tensors have our names
with `encoder.` before them. Its code fixes the rest: norms with eps 1e-6, V-JEPA 2's tiled rotary positions that are
never stretched, a class token at the front, exact GELU.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vjepa.data.atomic_file import write_json
from vjepa.interop.hugging_face.files import CONFIG, WEIGHTS, read_weights
from vjepa.interop.loading import write_weights
from vjepa.interop.networks import require_fit, whole_settings
from vjepa.interop.portable import Origin, Part, PortableModel, Preprocessing
from vjepa.interop.report import Report
from vjepa.models import VideoEncoder

MODEL_TYPE = "levjepa"
_CODE = "galilai-group/LeVJEPA-VideoMix-Large"  # where transformers finds the code of written folders
_PREFIX = "encoder."
_ATTENTION = {"full": "full", "block_causal": "causal"}  # theirs: ours
_SIZES = ("embed_dim", "depth", "num_heads", "mlp_ratio")  # the same names as ours
_NEEDED = (*_SIZES, "patch_size", "tubelet_size", "num_frames", "img_size", "attn_mode")
_FIXED = {"use_rope": True, "qkv_bias": True, "in_chans": 3}
_FPS = 7.5  # of training; not in the folder


def has_class_token(model: PortableModel) -> bool:
    return model.encoder is not None and whole_settings(VideoEncoder, model.encoder.settings)["class_token"]


def read_levjepa(folder: Path, config: Mapping[str, Any]) -> tuple[PortableModel, Report]:
    """Read a folder with this config. Raises ValueError where it is not as released, or weights don't fit."""
    missing = [key for key in _NEEDED if key not in config]
    if missing:
        raise ValueError(f"{folder / CONFIG} lacks {', '.join(missing)}, which LeVJEPA's released config has")
    for key, must in _FIXED.items():
        if config.get(key, must) != must:
            raise ValueError(f"{folder / CONFIG}: {key} is {config[key]}; only LeVJEPA models with {must} are read")
    if config["attn_mode"] not in _ATTENTION:
        raise ValueError(f"{folder / CONFIG}: attn_mode ({config['attn_mode']}) must be one of {', '.join(_ATTENTION)}")
    report = Report(str(folder), "Hugging Face, LeVJEPA")
    found = read_weights(folder)
    report.unexpected += [name for name in found if not name.startswith(_PREFIX)]
    weights = {name.removeprefix(_PREFIX): each for name, each in found.items() if name.startswith(_PREFIX)}
    side = config["img_size"]
    model = PortableModel(
        "LeVJEPA",
        Part(_encoder_settings(config), weights),
        preprocessing=Preprocessing(config["num_frames"], (side, side), _FPS),
        origin=Origin(str(folder)),
    )
    require_fit(model, report)
    report.notes += [
        f"assumed: {_FPS:g} frames per second",
        "the released weights (the moving average of training) are under CC BY-NC 4.0",
    ]
    return model, report


def write_levjepa(model: PortableModel, folder: Path) -> None:
    """Write a folder as released, without its code. Raises ValueError where its code builds no such model."""
    config = _config(model)
    _require_known_model(model, config)
    assert model.encoder is not None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).unlink(missing_ok=True)  # written last: a folder without it is incomplete
    write_weights({f"{_PREFIX}{name}": each for name, each in model.encoder.weights.items()}, folder / WEIGHTS)
    write_json(folder / CONFIG, config, indent=2)


def _encoder_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    side = config["patch_size"]
    return {
        **{name: config[name] for name in _SIZES},
        "tubelet": (config["tubelet_size"], side, side),
        "position": "rotary_tiled",
        "class_token": True,
        "attention": _ATTENTION[config["attn_mode"]],
    }


def _config(model: PortableModel) -> dict[str, Any]:
    assert model.encoder is not None
    ours = whole_settings(VideoEncoder, model.encoder.settings)
    return {
        "architectures": ["LeVJEPAModel"],
        "auto_map": {
            "AutoConfig": f"{_CODE}--configuration_levjepa.LeVJEPAConfig",
            "AutoModel": f"{_CODE}--modeling_levjepa.LeVJEPAModel",
        },
        "model_type": MODEL_TYPE,
        "img_size": model.preprocessing.crop_size[0],
        "num_frames": model.preprocessing.num_frames,
        "patch_size": ours["tubelet"][1],
        "tubelet_size": ours["tubelet"][0],
        **{name: ours[name] for name in _SIZES},
        **_FIXED,
        "attn_mode": next(theirs for theirs, kind in _ATTENTION.items() if kind == ours["attention"]),
        "token_drop_rate": 0.0,
    }


def _require_known_model(model: PortableModel, config: Mapping[str, Any]) -> None:
    others = {"predictor": model.predictor, "action_predictor": model.action_predictor, "probe": model.classifiers}
    extra = next((name for name, part in others.items() if part), None)
    if extra is not None:
        raise ValueError(f"LeVJEPA's folder holds only an encoder, this model has a {extra}; write it with --to native")
    height, width = model.preprocessing.crop_size
    if height != width or model.preprocessing.num_frames < 2:
        raise ValueError(
            f"LeVJEPA's model is set up for square clips of several frames, not for {model.preprocessing.num_frames} "
            f"of {height} x {width} pixels; write it with --to native"
        )
    assert model.encoder is not None
    theirs = whole_settings(VideoEncoder, _encoder_settings(config))
    for key, value in whole_settings(VideoEncoder, model.encoder.settings).items():
        if value != theirs[key]:
            raise ValueError(
                f"LeVJEPA's model has {key} {theirs[key]} where this encoder has {value}; write it with --to native"
            )
