"""Released V-JEPA checkpoints (`.pt`, `.pth.tar`): V-JEPA 1, 2, 2.1, 2-AC, distilled models and probes.

The files hold only weights. Sizes are read from their shapes; heads and the size of clips are known for the released
models and must be given for others.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vjepa.data.atomic_file import new_file
from vjepa.grid import TokenGrid
from vjepa.interop.loading import read_checkpoint
from vjepa.interop.networks import parts_of, require_fit, whole_settings
from vjepa.interop.portable import Family, Origin, Part, PortableModel, Preprocessing
from vjepa.interop.reference_names import POSITION_TABLES, from_reference_names, to_reference_names
from vjepa.interop.report import Report
from vjepa.models import OUTPUT_LEVELS, SIZES, ActionPredictor, PositionKind, Predictor, VideoEncoder
from vjepa.models.position import sincos_table

# In order of preference: in distilled files a `target_encoder` could be the teacher.
ENCODER_KEYS = ("ema_encoder", "target_encoder", "encoder")
_ALIASES = {"target": "target_encoder", "context": "encoder"}
# Number of heads by width.
_HEADS_OF_ENCODER = {row.embed_dim: row.num_heads for row in reversed(SIZES.values())}
_HEADS_OF_PREDICTOR = {384: 12}
_HEADS_OF_ACTION_PREDICTOR = {1024: 16}
_HEADS_OF_PROBE = 16

LICENCES: dict[Family, str | None] = {
    "V-JEPA 1": "CC-BY-NC 4.0 (the released code of V-JEPA 1)",
    "V-JEPA 2": "MIT (the released code of V-JEPA 2)",
    "V-JEPA 2.1": "MIT (the released code of V-JEPA 2)",
    "V-JEPA 2-AC": "MIT (the released code of V-JEPA 2)",
    "vjepa": None,
}


class Hints(NamedTuple):
    """Settings that weights do not determine, given by the user."""

    which: str | None = None  # the key of its encoder
    num_heads: int | None = None  # of the encoder
    predictor_num_heads: int | None = None
    image_size: int | None = None  # height and width of clips in pixels
    encoder_only: bool = False  # leave the other networks unread


def read_released(path: Path, hints: Hints = Hints()) -> tuple[PortableModel, Report]:  # noqa: B008 (immutable)
    """Read a released checkpoint. Raises ValueError where it is none, or does not fit a known model."""
    return from_released(read_checkpoint(path, lazily=True), path, hints)


def from_released(content: Mapping[str, Any], path: Path, hints: Hints) -> tuple[PortableModel, Report]:
    """A model from the content of a released checkpoint."""
    report = Report(str(path), "released checkpoint")
    networks = {key: plain_names(content[key]) for key in (*ENCODER_KEYS, "predictor") if _is_weights(content.get(key))}
    probes = content.get("classifiers", [])
    if not networks and not probes:
        networks = _bare_encoder(content, path)
    else:
        report.dropped += [str(key) for key in content if key not in (*networks, "classifiers")]
    key = _chosen_encoder(networks, path, hints.which) if networks or hints.which else None
    report.dropped += [other for other in ENCODER_KEYS if other in networks and other != key]
    encoder_weights = networks[key] if key else {}
    predictor_weights = {} if hints.encoder_only else networks.get("predictor", {})
    if key:
        _require_video_encoder(encoder_weights, key, path)
    family = _family(encoder_weights, predictor_weights)
    encoder = predictor = action_predictor = None
    grid: TokenGrid | None = None
    if key:
        encoder, grid = _encoder_part(encoder_weights, family, path, hints)
        report.dropped += [f"{key}.{name} (computed)" for name in POSITION_TABLES if name in encoder_weights]
    if "action_encoder.weight" in predictor_weights:
        action_predictor = _action_predictor_part(predictor_weights, path, hints)
    elif predictor_weights:
        predictor = _predictor_part(predictor_weights, family, encoder, grid, path, hints)
        report.dropped += [f"predictor.{name} (computed)" for name in POSITION_TABLES if name in predictor_weights]
    classifiers = [] if hints.encoder_only else [_classifier_part(plain_names(weights)) for weights in probes]
    preprocessing, assumed = _preprocessing(family, encoder, grid, path, hints)
    report.notes += assumed
    origin = Origin(str(path), key, licence=LICENCES[family])
    model = PortableModel(family, encoder, predictor, action_predictor, classifiers, preprocessing, origin)
    require_fit(model, report)
    return model, report


def plain_names(weights: Mapping[str, Any]) -> dict[str, Tensor]:
    """Weights without the prefixes that DDP, the released wrappers and torch.compile put before their names."""
    return {re.sub(r"^(?:(?:module|backbone|_orig_mod)\.)+", "", str(name)): value for name, value in weights.items()}


def _is_weights(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(each, Tensor) for each in value.values())


def _bare_encoder(content: Mapping[str, Any], path: Path) -> dict[str, dict[str, Tensor]]:
    """The encoder of a file that is its state dict."""
    if _is_weights(content):
        weights = plain_names(content)
        if "patch_embed.proj.weight" in weights and "blocks.0.attn.qkv.weight" in weights:
            return {"encoder": weights}
    raise ValueError(
        f"{path} is no V-JEPA checkpoint: it has none of {', '.join(ENCODER_KEYS)}, predictor, classifiers; "
        f"it has {_some(content)}"
    )


def _chosen_encoder(networks: Mapping[str, Any], path: Path, which: str | None) -> str:
    there = [key for key in ENCODER_KEYS if key in networks]
    if which is not None:
        key = _ALIASES.get(which, which)
        if key not in there:
            raise ValueError(f"{path} has no encoder '{which}'; it has {', '.join(there) or 'none'}")
        return key
    if not there:
        raise ValueError(f"{path} has a predictor, but none of {', '.join(ENCODER_KEYS)}")
    return there[0]


def _require_video_encoder(weights: Mapping[str, Tensor], key: str, path: Path) -> None:
    patch = weights.get("patch_embed.proj.weight")
    if patch is None or "blocks.0.attn.qkv.weight" not in weights:
        raise ValueError(
            f"the '{key}' of {path} is no V-JEPA encoder: it lacks patch_embed.proj.weight or "
            f"blocks.0.attn.qkv.weight; it has {_some(weights)}"
        )
    if patch.ndim != 5:
        raise ValueError(
            f"the '{key}' of {path} is an image model: its patch_embed.proj.weight has shape {tuple(patch.shape)}, "
            f"that of a video model has five axes"
        )


def _some(names: Mapping[str, Any]) -> str:
    first = [str(name) for name in names][:3]
    more = f", ... ({len(names)} in all)" if len(names) > 3 else ""
    return ", ".join(first) + more or "nothing"


def _family(encoder: Mapping[str, Tensor], predictor: Mapping[str, Tensor]) -> Family:
    if "action_encoder.weight" in predictor:
        return "V-JEPA 2-AC"
    if "norms_block.0.weight" in encoder:
        return "V-JEPA 2.1"
    return "V-JEPA 1" if "pos_embed" in encoder else "V-JEPA 2"


def _encoder_part(
    weights: Mapping[str, Tensor], family: Family, path: Path, hints: Hints
) -> tuple[Part, TokenGrid | None]:
    patch = weights["patch_embed.proj.weight"]
    embed_dim, depth = patch.shape[0], _depth(weights, "blocks.")
    num_heads = hints.num_heads or _HEADS_OF_ENCODER.get(embed_dim)
    if num_heads is None:
        raise ValueError(
            f"{path} has an encoder of width {embed_dim}, which is none of the known sizes "
            f"({', '.join(str(row.embed_dim) for row in SIZES.values())}), and weights don't tell heads; give num_heads"
        )
    tubelet = tuple(patch.shape[2:])
    settings = {
        "embed_dim": embed_dim,
        "depth": depth,
        "num_heads": num_heads,
        "tubelet": tubelet,
        **_mlp(weights, "blocks.0.mlp.", embed_dim),
        "position": "rotary_tiled",
    }
    grid = None
    if "pos_embed" in weights:
        settings["position"], grid = _kind_and_grid(weights["pos_embed"], "pos_embed", path)
        settings["position_grid"] = tuple(grid)
    if "norms_block.0.weight" in weights:
        if depth not in OUTPUT_LEVELS:
            raise ValueError(
                f"{path} has a V-JEPA 2.1 encoder of {depth} blocks; its output levels are known for "
                f"{', '.join(map(str, OUTPUT_LEVELS))} blocks"
            )
        settings |= {
            "position": "rotary",
            # V-JEPA 2.1 stretches positions to the grid of 256 pixels, whatever size a model was trained at.
            "position_grid": (1, 256 // tubelet[1], 256 // tubelet[1]),
            "output_levels": OUTPUT_LEVELS[depth],
            "image_tokenizer": "patch_embed_img.proj.weight" in weights,
            "modality_embeddings": "video_mod_embed" in weights,
        }
    return Part(settings, from_reference_names(weights)), grid


def _predictor_part(
    weights: Mapping[str, Tensor],
    family: Family,
    encoder: Part | None,
    grid: TokenGrid | None,
    path: Path,
    hints: Hints,
) -> Part:
    for name in ("predictor_proj.weight", "predictor_blocks.0.attn.qkv.weight"):
        if name not in weights:
            raise ValueError(f"the 'predictor' of {path} lacks {name}; it has {_some(weights)}")
    joins_levels = "predictor_embed.0.weight" in weights
    embed = weights["predictor_embed.2.weight" if joins_levels else "predictor_embed.weight"]
    embed_dim, encoder_dim = embed.shape
    num_heads = hints.predictor_num_heads or _HEADS_OF_PREDICTOR.get(embed_dim)
    if family == "V-JEPA 1" and encoder is not None:
        num_heads = hints.predictor_num_heads or encoder.settings["num_heads"]  # V-JEPA 1 has the encoder's number
    settings = {
        "encoder_dim": encoder_dim,
        "embed_dim": embed_dim,
        "depth": _depth(weights, "predictor_blocks."),
        "num_heads": _known_heads(num_heads, embed_dim, path),
        **_mlp(weights, "predictor_blocks.0.mlp.", embed_dim),
        "position": "rotary_tiled",
        "num_mask_tokens": sum(name.startswith("mask_tokens.") for name in weights),
        "num_levels": weights["predictor_embed.0.weight"].shape[1] // encoder_dim if joins_levels else 1,
        "target_dim": weights["predictor_proj.weight"].shape[0],
        "predict_context": "predictor_proj_context.weight" in weights,
        "modality_embeddings": "video_mod_embed" in weights,
    }
    if family == "V-JEPA 1":
        if grid is None or encoder is None or "predictor_pos_embed" not in weights:
            raise ValueError(f"the encoder of {path} has a table of positions, its predictor has none")
        kind, own_grid = _kind_and_grid(weights["predictor_pos_embed"], "predictor_pos_embed", path)
        settings |= {"position": kind, "position_grid": tuple(own_grid)}
    if family == "V-JEPA 2.1" and encoder is not None:
        settings |= {"position": "rotary", "position_grid": encoder.settings["position_grid"]}
    return Part(settings, from_reference_names(weights))


def _action_predictor_part(weights: Mapping[str, Tensor], path: Path, hints: Hints) -> Part:
    embed_dim, encoder_dim = weights["predictor_embed.weight"].shape
    num_heads = hints.predictor_num_heads or _HEADS_OF_ACTION_PREDICTOR.get(embed_dim)
    settings = {
        "encoder_dim": encoder_dim,
        "embed_dim": embed_dim,
        "depth": _depth(weights, "predictor_blocks."),
        "num_heads": _known_heads(num_heads, embed_dim, path),
        "mlp_ratio": _mlp(weights, "predictor_blocks.0.mlp.", embed_dim)["mlp_ratio"],
        "action_dim": weights["action_encoder.weight"].shape[1],
        "state_dim": weights["state_encoder.weight"].shape[1],
        "extrinsics_dim": weights["extrinsics_encoder.weight"].shape[1],
        "position": "rotary_tiled",
    }
    return Part(settings, from_reference_names(weights))


def _classifier_part(weights: Mapping[str, Tensor]) -> Part:
    ours = from_reference_names(weights)
    if "queries" not in ours:
        raise ValueError(f"a probe lacks pooler.query_tokens; it has {_some(weights)}")
    embed_dim = ours["queries"].shape[-1]
    tasks = sum(re.fullmatch(r"classifiers\.\d+\.weight", name) is not None for name in ours)
    settings = {
        "embed_dim": embed_dim,
        "num_classes": [ours[f"classifiers.{task}.weight"].shape[0] for task in range(tasks)],
        "depth": 1 + _depth(ours, "blocks."),
        "num_heads": _HEADS_OF_PROBE,
        "mlp_ratio": _mlp(ours, "cross_attention_block.mlp.", embed_dim)["mlp_ratio"],
    }
    return Part(settings, ours)


def _known_heads(num_heads: int | None, embed_dim: int, path: Path) -> int:
    if num_heads is None:
        raise ValueError(
            f"{path} has a predictor of width {embed_dim}, as no released model has, and weights don't tell heads; "
            f"give predictor_num_heads"
        )
    return num_heads


def _depth(weights: Mapping[str, Tensor], prefix: str) -> int:
    """The number of blocks, by the highest index."""
    numbers = [int(name.removeprefix(prefix).partition(".")[0]) for name in weights if name.startswith(prefix)]
    return max(numbers, default=-1) + 1


def _mlp(weights: Mapping[str, Tensor], prefix: str, embed_dim: int) -> dict[str, Any]:
    """Kind and `mlp_ratio` of an MLP, by its weights."""
    if f"{prefix}fc1.weight" not in weights:
        return {"mlp_ratio": 4.0}  # the report names it as missing
    hidden = weights[f"{prefix}fc1.weight"].shape[0]
    if f"{prefix}fc3.weight" in weights:
        return {"mlp": "swiglu", "mlp_ratio": 1.5 * hidden / embed_dim}
    for row in SIZES.values():
        if row.embed_dim == embed_dim and int(embed_dim * row.mlp_ratio) == hidden:
            return {"mlp_ratio": row.mlp_ratio}
    ratio = hidden / embed_dim
    return {"mlp_ratio": ratio if int(embed_dim * ratio) == hidden else math.nextafter(ratio, math.inf)}


def _kind_and_grid(table: Tensor, name: str, path: Path) -> tuple[PositionKind, TokenGrid]:
    """The formula and grid of a position table. Raises ValueError where it is not a sine-cosine table."""
    num_tokens, embed_dim = table.shape[-2:]
    tolerance = 1e-5 if table.dtype == torch.float32 else 1e-2
    for frames in range(1, num_tokens + 1):
        side = math.isqrt(num_tokens // frames)
        if frames * side * side != num_tokens:
            continue
        grid = TokenGrid(frames, side, side)
        kinds: list[PositionKind] = ["sincos_uniform"] if embed_dim % 8 else ["sincos_uniform", "sincos"]
        for kind in kinds:
            ours = sincos_table(grid, embed_dim, uniform=kind == "sincos_uniform")
            if torch.allclose(ours, table.reshape(num_tokens, embed_dim).float(), rtol=0.0, atol=tolerance):
                return kind, grid
    raise ValueError(
        f"the table of positions {name} {tuple(table.shape)} of {path} is the sine-cosine table of no square clip, so "
        f"it can't be computed; learned positions are not supported"
    )


def _preprocessing(
    family: Family, encoder: Part | None, grid: TokenGrid | None, path: Path, hints: Hints
) -> tuple[Preprocessing, list[str]]:
    """How clips are cut, and what is assumed of it."""
    if encoder is None:
        return Preprocessing(), []
    if grid is not None:
        frames, height, width = encoder.settings["tubelet"]
        size = (hints.image_size,) * 2 if hints.image_size else (grid.height * height, grid.width * width)
        num_frames = grid.frames * frames
        return Preprocessing(num_frames, size, fps=None, frame_step=4.0), ["assumed: every fourth frame"]
    in_name = re.search(r"[-_](256|384)\b", path.name)
    side, why = 384 if family == "V-JEPA 2.1" else 256, "as released"
    if hints.image_size:
        side, why = hints.image_size, "as given"
    elif in_name:
        side, why = int(in_name[1]), "by the file's name"
    num_frames = 8 if family == "V-JEPA 2-AC" else 64
    return Preprocessing(num_frames, (side, side)), [
        f"weights don't tell clips: {num_frames} frames at 4 per second (as released), {side} x {side} pixels ({why}; "
        f"image_size gives another)"
    ]


def to_released(model: PortableModel) -> dict[str, Any]:
    """The content of a released checkpoint of this model.

    Raises ValueError where the released code would read another model out of it, or has no such model.
    """
    if model.encoder is not None:
        settings = whole_settings(VideoEncoder, model.encoder.settings)
        if settings["class_token"] or settings["attention"] != "full":
            raise ValueError(
                "the released V-JEPA code has neither a class token nor causal attention; write it with --to native, "
                "or as a LeVJEPA with --to huggingface"
            )
    if model.encoder is None and (model.predictor or model.action_predictor):
        raise ValueError("the released layout has no predictor without its encoder; write it with --to native")
    if model.predictor is not None and model.action_predictor is not None:
        raise ValueError("the released layout has one predictor, this model has two; write it with --to native")
    prefix = "module." if model.action_predictor is not None else "module.backbone."
    content: dict[str, Any] = {}
    if model.encoder is not None:
        encoder = to_reference_names(model.encoder.weights, "encoder") | _position_table(model, "pos_embed")
        content["encoder"] = _prefixed(encoder, prefix)
        if model.action_predictor is None:
            content["target_encoder"] = content["encoder"]
        if _is_distilled(model):
            content["ema_encoder"] = content["encoder"]
    if model.predictor is not None:
        predictor = to_reference_names(model.predictor.weights, "predictor")
        content["predictor"] = _prefixed(predictor | _position_table(model, "predictor_pos_embed"), prefix)
    if model.action_predictor is not None:
        weights = to_reference_names(model.action_predictor.weights, "action_predictor")
        content["predictor"] = _prefixed(weights, prefix)
    if model.classifiers:
        probes = [to_reference_names(part.weights, "classifier") for part in model.classifiers]
        content["classifiers"] = [_prefixed(weights, "module.") for weights in probes]
    content["epoch"] = 0
    _require_same_reading(model, content)
    return content


def write_released(model: PortableModel, path: Path) -> None:
    """Write a checkpoint in the released layout. Raises ValueError as `to_released`."""
    content = to_released(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as temporary:
        torch.save(content, temporary)


def _is_distilled(model: PortableModel) -> bool:
    levels = model.encoder.settings.get("output_levels") if model.encoder else None
    return bool(levels) and model.predictor is not None and model.predictor.settings.get("num_levels", 1) == 1


def _prefixed(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor.detach() for name, tensor in weights.items()}


def _position_table(model: PortableModel, name: str) -> dict[str, Tensor]:
    """The fixed table that the released loaders of V-JEPA 1 expect; nothing for rotary positions."""
    assert model.encoder is not None
    encoder = whole_settings(VideoEncoder, model.encoder.settings)
    part = encoder
    if name == "predictor_pos_embed" and model.predictor is not None:
        part = whole_settings(Predictor, model.predictor.settings)
    if not part["position"].startswith("sincos"):
        return {}
    cut = model.preprocessing
    grid = part["position_grid"] or TokenGrid.of_clip((cut.num_frames, *cut.crop_size), encoder["tubelet"])
    table = sincos_table(TokenGrid(*grid), part["embed_dim"], uniform=part["position"] == "sincos_uniform")
    return {name: table.unsqueeze(0)}


def _require_same_reading(model: PortableModel, content: Mapping[str, Any]) -> None:
    """The released code has settings by convention: those that weights don't determine must be as released."""
    hints = Hints(
        num_heads=_unknown_heads(VideoEncoder, model.encoder, _HEADS_OF_ENCODER),
        predictor_num_heads=_unknown_heads(ActionPredictor, model.action_predictor, _HEADS_OF_ACTION_PREDICTOR)
        or _unknown_heads(Predictor, model.predictor, _HEADS_OF_PREDICTOR),
    )
    read, _ = from_released(content, Path("this model"), hints)
    reread = parts_of(read)
    for name, (network, part) in parts_of(model).items():
        ours, theirs = (whole_settings(network, each.settings) for each in (part, reread[name][1]))
        if str(ours.get("position", "")).startswith("sincos") and ours["position_grid"] is None:
            ours["position_grid"] = theirs["position_grid"]  # without a grid of its own: that of its clips
        for key, value in ours.items():
            if value != theirs[key]:
                raise ValueError(
                    f"the released code has no such model: its {read.family} has {key} {theirs[key]} where this "
                    f"{name} has {value}; write it with --to native"
                )


def _unknown_heads(network: type[nn.Module], part: Part | None, known: Mapping[int, int]) -> int | None:
    """The heads of a network whose width no released model has; None where they follow from the width."""
    if part is None:
        return None
    settings = whole_settings(network, part.settings)
    # The predictor of V-JEPA 1, the one with sine-cosine positions, has the heads of its encoder.
    follows = settings["embed_dim"] in known or (network is Predictor and settings["position"].startswith("sincos"))
    return None if follows else settings["num_heads"]
