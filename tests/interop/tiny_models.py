"""Small models of every family with random weights, and the same in full size without memory for weights."""

from typing import Any

import torch
from torch import nn

from vjepa.interop.networks import whole_settings
from vjepa.interop.portable import Family, Part, PortableModel, Preprocessing
from vjepa.models import SIZES, ActionPredictor, AttentiveProbe, EncoderSize, Predictor, VideoEncoder

TABLE_OF_V1 = (2, 4, 4)
ROTARY_21 = {"position": "rotary", "position_grid": (1, 16, 16)}
LEVELS = {12: (2, 5, 8, 11), 24: (5, 11, 17, 23), 40: (9, 19, 29, 39), 48: (11, 23, 37, 47)}


def part_of(network: type[nn.Module], **settings: Any) -> Part:
    """Random weights: a forgotten or swapped one shows. On the meta device none."""
    weights = network(**settings).state_dict()
    weights = {name: torch.randn_like(tensor) * 0.1 for name, tensor in weights.items()}
    return Part(whole_settings(network, settings), weights)


def encoder_settings(family: Family, depth: int) -> dict[str, Any]:
    if family == "V-JEPA 2.1":
        return ROTARY_21 | {
            "output_levels": LEVELS[depth],
            "image_tokenizer": True,
            "modality_embeddings": True,
        }
    if family == "V-JEPA 1":
        return {"position": "sincos_uniform", "position_grid": TABLE_OF_V1}
    return {"position": "rotary_tiled"}


def predictor_settings(family: Family, width: int, distilled: bool = False) -> dict[str, Any]:
    if family == "V-JEPA 2.1":
        levels = {"num_levels": 1, "target_dim": 1664} if distilled else {"num_levels": 4}
        return ROTARY_21 | levels | {"predict_context": True, "modality_embeddings": True, "encoder_dim": width}
    return encoder_settings(family, 0) | {"encoder_dim": width}


def tiny_model(family: Family = "V-JEPA 2", distilled: bool = False, probes: int = 0) -> PortableModel:
    """Widths of released models, so that heads are known; one block, twelve where levels need them."""
    torch.manual_seed(0)
    depth = 12 if family == "V-JEPA 2.1" else 1
    encoder = part_of(VideoEncoder, size="tiny", depth=depth, **encoder_settings(family, depth))
    predictor = action_predictor = None
    if family == "V-JEPA 2-AC":
        action_predictor = part_of(ActionPredictor, encoder_dim=192, depth=1)
    else:
        heads = 3 if family == "V-JEPA 1" else 12
        predictor = part_of(
            Predictor,
            depth=1,
            num_heads=heads,
            num_mask_tokens=3,
            **predictor_settings(family, 192, distilled),
        )
        predictor.weights["mask_tokens.1"].zero_()
    classifiers = [part_of(AttentiveProbe, embed_dim=192, num_classes=[5], depth=2) for _ in range(probes)]
    return PortableModel(family, encoder, predictor, action_predictor, classifiers, clips_of(family))


def clips_of(family: Family) -> Preprocessing:
    """What a reader of a released file assumes."""
    if family == "V-JEPA 1":
        return Preprocessing(4, (64, 64), None, 4.0)
    frames = 8 if family == "V-JEPA 2-AC" else 64
    side = 384 if family == "V-JEPA 2.1" else 256
    return Preprocessing(frames, (side, side))


def full_model(size: EncoderSize, family: Family = "V-JEPA 2", distilled: bool = False) -> PortableModel:
    """A model as it was released, without memory for weights."""
    width, depth = SIZES[size].embed_dim, SIZES[size].depth
    tokens = 10 if family == "V-JEPA 2" else 8
    with torch.device("meta"):
        encoder = part_of(VideoEncoder, size=size, **encoder_settings(family, depth))
        if family == "V-JEPA 2-AC":
            action_predictor = part_of(ActionPredictor, encoder_dim=width)
            return PortableModel(family, encoder, None, action_predictor, [], clips_of(family))
        predictor = part_of(
            Predictor,
            depth=24 if family == "V-JEPA 2.1" and not distilled else 12,
            num_mask_tokens=tokens,
            **predictor_settings(family, width, distilled),
        )
    return PortableModel(family, encoder, predictor, preprocessing=clips_of(family))


def assert_equal(ours: PortableModel, theirs: PortableModel) -> None:
    """The same networks, difference 0; on the meta device the same names and shapes."""
    assert ours.family == theirs.family
    assert ours.preprocessing == theirs.preprocessing
    for one, other in zip(all_parts(ours), all_parts(theirs), strict=True):
        assert (one is None) == (other is None)
        if one is None or other is None:
            continue
        assert one.weights.keys() == other.weights.keys()
        for name, tensor in one.weights.items():
            assert tensor.shape == other.weights[name].shape, name
            assert tensor.is_meta or torch.equal(tensor, other.weights[name]), name
    for network, one, other in (
        (VideoEncoder, ours.encoder, theirs.encoder),
        (Predictor, ours.predictor, theirs.predictor),
        (ActionPredictor, ours.action_predictor, theirs.action_predictor),
    ):
        if one is not None and other is not None:
            assert whole_settings(network, one.settings) == whole_settings(network, other.settings)


def all_parts(model: PortableModel) -> list[Part | None]:
    return [model.encoder, model.predictor, model.action_predictor, *model.classifiers]
