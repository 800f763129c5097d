"""Names of parameters: of the released V-JEPA code and of this package."""

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

NetworkName = Literal["encoder", "predictor", "action_predictor", "classifier"]

# Prefixes. Ours do not repeat the module: `predictor.blocks`, not `predictor.predictor_blocks`. A released name means
# the same in every network; one of ours ("norm.") does not.
_MODALITY = {"img_mod_embed": "modality.image", "video_mod_embed": "modality.video"}
_OURS_FOR_REFERENCE_PREFIX: dict[NetworkName, dict[str, str]] = {
    "encoder": {"norms_block.": "level_norms.", "patch_embed_img.": "image_embed.", **_MODALITY},
    "predictor": {
        "predictor_embed.": "embed.",
        "predictor_blocks.": "blocks.",
        "predictor_norm.": "norm.",
        "predictor_proj.": "proj.",
        "predictor_proj_context.": "context_proj.",
        **_MODALITY,
    },
    "action_predictor": {
        "predictor_embed.": "embed.",
        "predictor_blocks.": "blocks.",
        "predictor_norm.": "norm.",
        "predictor_proj.": "proj.",
        "action_encoder.": "action_embed.",
        "state_encoder.": "state_embed.",
        "extrinsics_encoder.": "extrinsics_embed.",
    },
    "classifier": {"pooler.query_tokens": "queries", "pooler.": ""},
}
# The linear layers of a probe: of one task; of EPIC-Kitchens-100's three tasks; of its actions alone.
_CLASSIFIERS_OF_TASKS = (("linear.",), ("verb_classifier.", "noun_classifier.", "action_classifier."))
_ACTION_CLASSIFIER = "action_classifier."
# Fixed tables, computed instead of loaded.
POSITION_TABLES = ("pos_embed", "predictor_pos_embed")


def from_reference_names(reference: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a released encoder, predictor or attentive probe (no wrapper prefixes) under our names."""
    return {_our_name(name, reference): tensor for name, tensor in reference.items() if name not in POSITION_TABLES}


def to_reference_names(ours: Mapping[str, Tensor], network: NetworkName) -> dict[str, Tensor]:
    """Our weights under the released names. Raises ValueError for a probe with other than one or three tasks."""
    prefixes = {prefix: theirs for theirs, prefix in _OURS_FOR_REFERENCE_PREFIX[network].items() if prefix}
    if network == "classifier":
        tasks = len({name.split(".")[1] for name in ours if name.startswith("classifiers.")})
        names = next((names for names in _CLASSIFIERS_OF_TASKS if len(names) == tasks), None)
        if names is None:
            raise ValueError(f"the released code has probes of one task or of three, this one has {tasks}")
        prefixes |= {f"classifiers.{task}.": name for task, name in enumerate(names)}
    otherwise = "pooler." if network == "classifier" else ""
    return {_renamed(name, prefixes, otherwise): tensor for name, tensor in ours.items()}


def _our_name(name: str, reference: Mapping[str, Tensor]) -> str:
    for names in _CLASSIFIERS_OF_TASKS:
        for task, theirs in enumerate(names):
            if name.startswith(theirs):
                is_alone = theirs == _ACTION_CLASSIFIER and not any(key.startswith(names[0]) for key in reference)
                return f"classifiers.{0 if is_alone else task}.{name.removeprefix(theirs)}"
    prefixes = {theirs: ours for names in _OURS_FOR_REFERENCE_PREFIX.values() for theirs, ours in names.items()}
    return _renamed(name, prefixes, "")


def _renamed(name: str, prefixes: Mapping[str, str], otherwise: str) -> str:
    for old, new in prefixes.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return otherwise + name
