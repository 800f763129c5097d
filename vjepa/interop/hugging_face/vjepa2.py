"""Folders of transformers' own V-JEPA 2: `VJEPA2Model` and `VJEPA2ForVideoClassification`.

Its attention has separate queries, keys and values, its mask tokens are one tensor.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vjepa.data.atomic_file import write_json
from vjepa.interop.hugging_face.files import CONFIG, WEIGHTS, read_json, read_weights
from vjepa.interop.loading import write_weights
from vjepa.interop.networks import outline, parts_of, require_fit, whole_settings
from vjepa.interop.portable import Origin, Part, PortableModel, Preprocessing
from vjepa.interop.report import Report
from vjepa.models import AttentiveProbe, Predictor, VideoEncoder

_PREPROCESSOR = "video_preprocessor_config.json"
_MASK_TOKENS = "predictor.embeddings.mask_tokens"  # (number, 1, 1, D)

_Keys = dict[str, tuple[str, Any]]  # keywords of our constructor: key of their config, its default
_ENCODER_KEYS: _Keys = {
    "embed_dim": ("hidden_size", 1024),
    "depth": ("num_hidden_layers", 24),
    "num_heads": ("num_attention_heads", 16),
    "mlp_ratio": ("mlp_ratio", 4.0),
    "norm_eps": ("layer_norm_eps", 1e-6),
}
_PREDICTOR_KEYS: _Keys = {
    "encoder_dim": ("hidden_size", 1024),
    "embed_dim": ("pred_hidden_size", 384),
    "depth": ("pred_num_hidden_layers", 12),
    "num_heads": ("pred_num_attention_heads", 12),
    "mlp_ratio": ("pred_mlp_ratio", 4.0),
    "num_mask_tokens": ("pred_num_mask_tokens", 10),
    "norm_eps": ("layer_norm_eps", 1e-6),
}
_FIXED = {"hidden_act": "gelu", "qkv_bias": True, "in_chans": 3}  # of every V-JEPA 2 model

# Prefixes of names; names inside a block follow below.
_ENCODER = {
    "patch_embed.": "encoder.embeddings.patch_embeddings.",
    "blocks.": "encoder.layer.",
    "norm.": "encoder.layernorm.",
}
_PREDICTOR = {
    "embed.": "predictor.embeddings.predictor_embeddings.",
    "blocks.": "predictor.layer.",
    "norm.": "predictor.layernorm.",
    "proj.": "predictor.proj.",
}
_PROBE = {
    "queries": "pooler.query_tokens",
    "blocks.": "pooler.self_attention_layers.",
    "cross_attention_block.": "pooler.cross_attention_layer.",
    "classifiers.0.": "classifier.",
}
# Inside a block. Several names stand for one tensor of ours, split along its rows.
_IN_BLOCK = {
    ".attn.qkv.": [".attention.query.", ".attention.key.", ".attention.value."],
    ".attn.proj.": [".attention.proj."],
}
_IN_POOLER = {
    ".norm1.": [".layer_norm1."],
    ".norm2.": [".layer_norm2."],
    ".attn.qkv.": [".self_attn.q_proj.", ".self_attn.k_proj.", ".self_attn.v_proj."],
    ".attn.proj.": [".self_attn.out_proj."],
    ".xattn.q.": [".cross_attn.q_proj."],
    ".xattn.kv.": [".cross_attn.k_proj.", ".cross_attn.v_proj."],
}


def read_vjepa2(folder: Path, config: Mapping[str, Any]) -> tuple[PortableModel, Report]:
    """Read a folder with this config. Raises ValueError where weights and config don't fit."""
    for key, must in _FIXED.items():
        if config.get(key, must) != must:
            raise ValueError(f"{folder / CONFIG}: {key} is {config[key]}, but every V-JEPA 2 model has {must}")
    preprocessing = _read_preprocessing(folder, config)
    model, report = from_hugging_face(config, read_weights(folder), folder)
    report.notes.append("assumed: 4 frames per second")
    return replace(model, preprocessing=preprocessing, origin=Origin(str(folder))), report


def from_hugging_face(
    config: Mapping[str, Any], weights: Mapping[str, Tensor], folder: Path
) -> tuple[PortableModel, Report]:
    """A model from a config and weights as transformers writes them."""
    report = Report(str(folder), "Hugging Face")
    unread = {name.removeprefix("vjepa2."): tensor for name, tensor in weights.items()}
    encoder = _taken(VideoEncoder, _encoder_settings(config), unread, "encoder", report)
    predictor = None
    if any(name.startswith("predictor.") for name in unread):
        predictor = _taken(Predictor, _predictor_settings(config), unread, "predictor", report)
    else:
        report.notes.append("there is no predictor")
    classifiers = []
    if any(name.startswith("pooler.") for name in unread):
        classifiers = [_taken(AttentiveProbe, _probe_settings(config, unread), unread, "classifiers.0", report)]
        report.notes.append("the probe's norms have eps 1e-5, as it was trained; transformers computes with 1e-6")
    report.unexpected += list(unread)
    model = PortableModel("V-JEPA 2", encoder, predictor, None, classifiers)
    require_fit(model, report)
    return model, report


def to_hugging_face(model: PortableModel) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(config, weights) for transformers. Raises ValueError where it has no such model."""
    _require_known_model(model)
    assert model.encoder is not None and model.predictor is not None
    config = _config(model)
    weights = _their_weights(model.encoder, "encoder") | _their_weights(model.predictor, "predictor")
    if model.classifiers:
        weights = {f"vjepa2.{name}": tensor for name, tensor in weights.items()}
        weights |= _their_weights(model.classifiers[0], "classifiers.0")
    return config, weights


def write_vjepa2(model: PortableModel, folder: Path) -> None:
    """Write a folder that transformers' `from_pretrained` reads. Raises ValueError as `to_hugging_face`."""
    config, weights = to_hugging_face(model)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).unlink(missing_ok=True)  # written last: a folder without it is incomplete
    write_weights(weights, folder / WEIGHTS)
    side = config["crop_size"]
    preprocessor = {
        "video_processor_type": "VJEPA2VideoProcessor",
        "do_resize": True,
        "size": {"shortest_edge": int(side * 256 / 224)},
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
        "do_rescale": True,
        "do_normalize": True,
        "image_mean": list(model.preprocessing.mean),
        "image_std": list(model.preprocessing.std),
    }
    write_json(folder / _PREPROCESSOR, preprocessor, indent=2)
    write_json(folder / CONFIG, config, indent=2)


def _taken(
    network: type[nn.Module], settings: dict[str, Any], unread: dict[str, Tensor], name: str, report: Report
) -> Part:
    """One network's weights under our names, removed from the unread ones."""
    weights = {}
    if name == "predictor" and _MASK_TOKENS in unread:
        for number, token in enumerate(unread.pop(_MASK_TOKENS)):
            weights[f"mask_tokens.{number}"] = token
    for ours in outline(network, settings).state_dict():
        if ours.startswith("mask_tokens."):
            continue
        theirs = _their_names(ours, name)
        found = [unread.pop(each) for each in theirs if each in unread]
        if len(found) == len(theirs):
            weights[ours] = found[0] if len(found) == 1 else torch.cat(found)
    return Part(settings, weights)


def _their_weights(part: Part, name: str) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    tokens = []
    for ours, tensor in part.weights.items():
        if ours.startswith("mask_tokens."):
            tokens.append((int(ours.rpartition(".")[2]), tensor))
            continue
        theirs = _their_names(ours, name)
        # Copies: tensors in a safetensors file must not share memory.
        rows = [tensor] if len(theirs) == 1 else [rows.clone() for rows in tensor.chunk(len(theirs))]
        weights |= dict(zip(theirs, rows, strict=True))
    if tokens:
        weights[_MASK_TOKENS] = torch.stack([token for _, token in sorted(tokens, key=lambda pair: pair[0])])
    return weights


def _their_names(ours: str, name: str) -> list[str]:
    """Their names of one tensor of ours, whose rows are theirs, concatenated."""
    prefixes = {"encoder": _ENCODER, "predictor": _PREDICTOR}.get(name, _PROBE)
    inside = _IN_BLOCK if name in ("encoder", "predictor") else _IN_POOLER
    renamed = next((new + ours.removeprefix(old) for old, new in prefixes.items() if ours.startswith(old)), ours)
    for old, new in inside.items():
        if old in renamed:
            return [renamed.replace(old, each) for each in new]
    return [renamed]


def _encoder_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    size = config.get("patch_size", 16)
    height, width = (size, size) if isinstance(size, int) else size
    return {"tubelet": (config.get("tubelet_size", 2), height, width), **_settings(config, _ENCODER_KEYS)}


def _predictor_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    return _settings(config, _PREDICTOR_KEYS)


def _settings(config: Mapping[str, Any], keys: _Keys) -> dict[str, Any]:
    values = {ours: config.get(theirs, default) for ours, (theirs, default) in keys.items()}
    return {"position": "rotary_tiled", **values}


def _probe_settings(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> dict[str, Any]:
    classifier = weights.get("classifier.weight")
    return {
        "embed_dim": config.get("hidden_size", 1024),
        "num_classes": [len(config.get("id2label", {0: "", 1: ""})) if classifier is None else len(classifier)],
        "depth": 1 + config.get("num_pooler_layers", 3),
        "num_heads": config.get("num_attention_heads", 16),
        "mlp_ratio": 4.0,
    }


def _config(model: PortableModel) -> dict[str, Any]:
    assert model.encoder is not None and model.predictor is not None
    encoder = whole_settings(VideoEncoder, model.encoder.settings)
    predictor = whole_settings(Predictor, model.predictor.settings)
    config = {
        "architectures": ["VJEPA2ForVideoClassification" if model.classifiers else "VJEPA2Model"],
        "model_type": "vjepa2",
        "patch_size": encoder["tubelet"][1],
        "crop_size": model.preprocessing.crop_size[0],
        "frames_per_clip": model.preprocessing.num_frames,
        "tubelet_size": encoder["tubelet"][0],
        **_FIXED,
        "num_pooler_layers": 3,
        **{theirs: predictor[ours] for ours, (theirs, _) in _PREDICTOR_KEYS.items()},
        **{theirs: encoder[ours] for ours, (theirs, _) in _ENCODER_KEYS.items()},
    }
    for part in model.classifiers:
        probe = whole_settings(AttentiveProbe, part.settings)
        labels = {number: f"LABEL_{number}" for number in range(probe["num_classes"][0])}
        config |= {
            "num_pooler_layers": probe["depth"] - 1,
            "id2label": labels,
            "label2id": {label: number for number, label in labels.items()},
        }
    return config


def _require_known_model(model: PortableModel) -> None:
    no_model = (
        "transformers has no such model; write it with --to native: load_encoder reads that folder from the hub, too"
    )
    if model.action_predictor is not None:
        raise ValueError(f"this is a V-JEPA 2-AC, with a predictor of actions: {no_model}")
    if model.encoder is None:
        raise ValueError("this file holds probes without an encoder, and transformers has none of those alone")
    if model.predictor is None:
        raise ValueError("this file has no predictor, and transformers' VJEPA2Model has one; write it with --to native")
    encoder = whole_settings(VideoEncoder, model.encoder.settings)
    if encoder["output_levels"] is not None:
        raise ValueError(f"this is a V-JEPA 2.1, with output levels of its own: {no_model}")
    if encoder["position"].startswith("sincos"):
        raise ValueError(f"this is a V-JEPA 1, with sine-cosine positions: {no_model}")
    height, width = model.preprocessing.crop_size
    if height != width:
        raise ValueError(
            f"clips of {height} x {width} pixels are not square, as transformers' positions are; give image_size"
        )
    if len(model.classifiers) > 1:
        raise ValueError(
            f"transformers' model has one probe, this file has {len(model.classifiers)}; write it with --to native"
        )
    config = _config(model)
    theirs = {"encoder": _encoder_settings(config), "predictor": _predictor_settings(config)}
    for part in model.classifiers:
        theirs["classifiers.0"] = _probe_settings(config, {"classifier.weight": part.weights["classifiers.0.weight"]})
    for name, (network, part) in parts_of(model).items():
        known = whole_settings(network, theirs[name])
        for key, value in whole_settings(network, part.settings).items():
            if value != known[key]:
                raise ValueError(
                    f"transformers' model has {key} {known[key]} where this {name} has {value}; "
                    f"write it with --to native"
                )


def _read_preprocessing(folder: Path, config: Mapping[str, Any]) -> Preprocessing:
    side = config.get("crop_size", 256)
    known = Preprocessing()
    mean, std = known.mean, known.std
    for name in (_PREPROCESSOR, "preprocessor_config.json"):
        if (folder / name).exists():
            content = read_json(folder / name)
            mean, std = (tuple(content.get(key, value)) for key, value in (("image_mean", mean), ("image_std", std)))
            break
    return Preprocessing(config.get("frames_per_clip", 64), (side, side), mean=mean, std=std)
