"""Clip contrast: two clips of one file must be embedded alike, and unlike the clips of all other files.

SimCLR's loss (NT-Xent; Chen et al. 2020, arXiv 2002.05709, eq. 1) between clips that differ in time, crop and colours.
What an action looks like lasts over a file; where it was filmed from, and when, does not. With more than two views of a
clip the loss is the mean over an embedding's partners (Khosla et al. 2020, arXiv 2004.11362, eq. 2).
"""

from collections.abc import Sequence
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from vjepa.objectives.global_batch import gathered_sets
from vjepa.objectives.projector import Projector
from vjepa.objectives.regularizer import Regularizer
from vjepa.objectives.term import TermValue


@final
class ClipContrast(Regularizer):
    """Contrast between views, or between whole clips of data with `clips_per_video: 2`.

    Between whole clips it reads their target tokens, which have gradients with `targets: OwnTokens`; clips 0 and 1 of a
    batch are of one file, 2 and 3, and so on. Parts: the cross-entropy of finding an embedding's partners among all
    others, and the fraction of embeddings whose nearest one is a partner.

    Args:
        projector: between mean tokens and embeddings.
        temperature: what similarities are divided by; 0.1 to 0.5 as published.
        weight: beside the prediction loss.
    """

    def __init__(self, projector: Projector | None, temperature: float = 0.2, weight: float = 1.0):
        super().__init__(projector)
        if not temperature > 0:
            raise ValueError(f"temperature ({temperature}) must be more than 0; try 0.2")
        self.temperature = temperature
        self.weight = weight

    def embeddings(
        self, predicted: Float[Tensor, "B Nt D"], tokens: Float[Tensor, "B N D"]
    ) -> list[Float32[Tensor, "files E"]]:
        """The first and the second clips of all files. Raises ValueError where clips can't be paired."""
        if len(tokens) % 2:
            raise ValueError(
                f"clip contrast pairs clips of one file, and {len(tokens)} clips are no whole pairs; give "
                f"--data.clips_per_video=2 and a global_batch_size of at least 4"
            )
        return list(self._projected(tokens.mean(1)).unflatten(0, (-1, 2)).unbind(1))

    def compare(
        self, embeddings: Sequence[Float32[Tensor, "B *places E"]], step: int, anchored: bool = False
    ) -> TermValue:
        """Raises ValueError where there is no partner, or no other clip."""
        if anchored:
            raise ValueError("clip contrast compares each view with each; leave out anchored")
        found = gathered_sets([F.normalize(part, dim=-1) for part in embeddings])
        num_sets, num_clips = len(found), len(found[0])
        if num_clips < 2 or num_sets < 2:
            raise ValueError(
                f"clip contrast finds partners among other clips, and has {num_sets} embedding(s) of {num_clips} "
                f"clip(s); give --data.clips_per_video=2 and a global_batch_size of at least 4, or data.views"
            )
        joined = torch.cat(found)  # set by set
        clip = torch.arange(num_clips, device=joined.device).repeat(num_sets)
        itself = torch.eye(len(joined), dtype=torch.bool, device=joined.device)
        partner = (clip[:, None] == clip) & ~itself
        similarity = (joined @ joined.T / self.temperature).masked_fill(itself, float("-inf"))
        log_probability = similarity - similarity.logsumexp(dim=1, keepdim=True)
        contrast = -log_probability[partner].mean()
        nearest_is_partner = partner[torch.arange(len(joined)), similarity.argmax(dim=1)].float().mean()
        return TermValue(self.weight * contrast, {"contrast": contrast, "found": nearest_is_partner})
