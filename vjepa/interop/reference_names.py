"""Names of parameters in the released V-JEPA code, and ours."""

from collections.abc import Mapping

from torch import Tensor

# Ours differ where the module already says it: `predictor.blocks`, not `predictor.predictor_blocks`.
_OURS_FOR_REFERENCE_PREFIX = {
    "predictor_embed.": "embed.",
    "predictor_blocks.": "blocks.",
    "predictor_norm.": "norm.",
    "predictor_proj.": "proj.",
    "predictor_proj_context.": "context_proj.",
    "action_encoder.": "action_embed.",
    "state_encoder.": "state_embed.",
    "extrinsics_encoder.": "extrinsics_embed.",
    "norms_block.": "level_norms.",
    "patch_embed_img.": "image_embed.",
    "img_mod_embed": "modality.image",
    "video_mod_embed": "modality.video",
    "pooler.query_tokens": "queries",
    "pooler.": "",
    "linear.": "classifiers.0.",
}
# Fixed tables that we compute from their formula instead of loading.
_POSITION_TABLES = ("pos_embed", "predictor_pos_embed")


def from_reference_names(reference: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a released encoder, predictor or attentive probe (no wrapper prefixes) under our names."""
    return {_our_name(name): tensor for name, tensor in reference.items() if name not in _POSITION_TABLES}


def _our_name(name: str) -> str:
    for theirs, ours in _OURS_FOR_REFERENCE_PREFIX.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name
