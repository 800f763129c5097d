"""Embeddings of views: subsets of a clip's tokens, and crops of its frames."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.data.clips.batch import Views, normalize_clips
from vjepa.models import VideoEncoder


def embed_views(
    encoder: VideoEncoder,
    clips: Float[Tensor, "B 3 T H W"],  # normalised
    views: Sequence[Views],
) -> Float[Tensor, "V B D"] | None:  # None where there are no views
    """One embedding for each view, in the order of `views`; views of one size go through the encoder together."""
    if not views:
        return None
    embedded = [
        encoder.embed_clips(clips if part.clips is None else normalize_clips(part.clips), part.token_ids)
        for part in views
    ]
    return torch.cat([each.unflatten(0, (len(clips), -1)) for each in embedded], dim=1).transpose(0, 1)
