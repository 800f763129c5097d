"""Reads golden cases: tensors and settings made by running the reference implementation (see tests/golden/README.md).

`VJEPA_GOLDEN` names another folder with cases of the same kinds; the tests then run on every file found there.
"""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from safetensors import safe_open
from torch import Tensor

from vjepa.grid import TokenGrid
from vjepa.interop.reference_names import from_reference_names
from vjepa.models import ActionPredictor, PositionKind, Predictor, VideoEncoder

GOLDEN = Path(os.environ.get("VJEPA_GOLDEN", Path(__file__).parents[1] / "golden"))


class Case(NamedTuple):
    settings: dict[str, Any]
    tensors: dict[str, Tensor]

    def numbered(self, name: str) -> list[Tensor]:
        """Tensors called `name.0`, `name.1`, ..."""
        found = [key for key in self.tensors if key.rpartition(".")[0] == name and key.rpartition(".")[2].isdigit()]
        return [self.tensors[key] for key in sorted(found, key=lambda key: int(key.rpartition(".")[2]))]

    def weights(self, prefix: str = "weights") -> dict[str, Tensor]:
        """Weights below `prefix.`, under our names."""
        start = f"{prefix}."
        return from_reference_names(
            {key.removeprefix(start): tensor for key, tensor in self.tensors.items() if key.startswith(start)}
        )


def cases(pattern: str):
    """Parametrise a test with the golden files that match."""
    files = sorted(GOLDEN.glob(f"{pattern}.safetensors"))
    return pytest.mark.parametrize("case", [pytest.param(load(file), id=file.stem) for file in files])


def load(file: Path) -> Case:
    with safe_open(file, "pt") as opened:
        settings = json.loads(opened.metadata()["config"])
        return Case(settings, {key: opened.get_tensor(key) for key in opened.keys()})  # noqa: SIM118


def encoder_of(settings: dict[str, Any]) -> VideoEncoder:
    return VideoEncoder(
        embed_dim=settings["embed_dim"],
        depth=settings["depth"],
        num_heads=settings["num_heads"],
        tubelet=_tubelet(settings),
        output_levels=settings.get("hierarchical_layers"),
        image_tokenizer=is_21(settings),
        modality_embeddings=settings.get("modality_embedding", False),
        **_of_both(settings),
    )


def predictor_of(settings: dict[str, Any]) -> Predictor:
    return Predictor(
        encoder_dim=settings["embed_dim"],
        embed_dim=settings["predictor_embed_dim"],
        depth=settings["predictor_depth"],
        num_heads=settings["predictor_heads"],
        num_mask_tokens=settings["num_mask_tokens"],
        num_levels=len(settings.get("hierarchical_layers", [0])),
        predict_context=is_21(settings),
        modality_embeddings=settings.get("modality_embedding", False),
        **_of_both(settings),
    )


def action_predictor_of(settings: dict[str, Any]) -> ActionPredictor:
    return ActionPredictor(
        encoder_dim=settings["embed_dim"],
        embed_dim=settings["predictor_embed_dim"],
        depth=settings["predictor_depth"],
        num_heads=settings["predictor_heads"],
        mlp_ratio=settings["mlp_ratio"],
        action_dim=settings["action_dim"],
        state_dim=settings["state_dim"],
        use_extrinsics=settings["use_extrinsics"],
        norm_eps=settings["layer_norm_eps"],
    )


def is_21(settings: dict[str, Any]) -> bool:
    return "hierarchical_layers" in settings


def _of_both(settings: dict[str, Any]) -> dict[str, Any]:
    """What encoder and predictor of a case share."""
    if is_21(settings):
        side = settings["rope_pretrained_grid"]
        known_grid = (1, side, side) if settings["interpolate_rope"] else None
    else:
        known_grid = None if settings.get("use_rope") else grid_of(settings)  # its rotary counts in tokens everywhere
    return {
        "mlp_ratio": _mlp_ratio(settings),
        "position": _position(settings),
        "position_grid": known_grid,
        "mlp": "swiglu" if settings.get("use_silu") else "gelu",
        "norm_eps": settings["layer_norm_eps"],
    }


def grid_of(settings: dict[str, Any]) -> TokenGrid:
    side = settings["image_size"]
    height, width = side if isinstance(side, list) else (side, side)
    return TokenGrid.of_clip((settings["num_frames"], height, width), _tubelet(settings))


def _tubelet(settings: dict[str, Any]) -> tuple[int, int, int]:
    return settings["tubelet_size"], settings["patch_size"], settings["patch_size"]


def _mlp_ratio(settings: dict[str, Any]) -> float:
    # Our SwiGLU has the reference's "wide" form; its other form is as wide as 1.5 times the ratio.
    is_full = settings.get("use_silu") and not settings.get("wide_silu", True)
    return settings["mlp_ratio"] * (1.5 if is_full else 1.0)


def _position(settings: dict[str, Any]) -> PositionKind:
    if is_21(settings):
        return "rotary"
    if settings.get("use_rope"):
        return "rotary_tiled"
    return "sincos_uniform" if settings.get("uniform_power") else "sincos"
