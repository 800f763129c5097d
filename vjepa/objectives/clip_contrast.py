"""Clip contrast: two clips of one file must be embedded alike, and unlike the clips of all other files.

SimCLR's loss (NT-Xent; Chen et al. 2020, arXiv 2002.05709, eq. 1) between clips that differ in time, crop and colours.
What an action looks like lasts over a file; where it was filmed from, and when, does not.
"""

from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vjepa.objectives.global_batch import gathered
from vjepa.objectives.projector import Projector
from vjepa.objectives.regularizer import Regularizer
from vjepa.objectives.term import TermValue


@final
class ClipContrast(Regularizer):
    """A regularizer for data with `clips_per_video: 2`: clips 0 and 1 of a batch are of one file, 2 and 3, and so on.

    It reads target tokens of whole clips, which have gradients with `targets: OwnTokens`. Parts: the cross-entropy of
    finding a clip's partner among all other clips, and the fraction of clips whose partner is the nearest.

    Args:
        projector: between mean tokens and embeddings.
        temperature: what similarities are divided by; 0.1 to 0.5 as published.
        weight: beside the prediction loss.
    """

    projector: Projector

    def __init__(self, projector: Projector, temperature: float = 0.2, weight: float = 1.0):
        super().__init__(projector)
        if not temperature > 0:
            raise ValueError(f"temperature ({temperature}) must be more than 0; try 0.2")
        self.temperature = temperature
        self.weight = weight

    def forward(self, predicted: Float[Tensor, "B Nt D"], tokens: Float[Tensor, "B N D"], step: int) -> TermValue:
        """Raises ValueError where clips can't be paired, or there is no other file."""
        embeddings = gathered(F.normalize(self.projector(tokens.mean(1)).float(), dim=-1))  # (B, E)
        if len(embeddings) % 2 or len(embeddings) < 4:
            raise ValueError(
                f"clip contrast pairs clips of one file, and {len(embeddings)} clips are no two pairs; give "
                f"--data.clips_per_video=2 and a global_batch_size of at least 4"
            )
        similarity = embeddings @ embeddings.T / self.temperature
        itself = torch.eye(len(embeddings), dtype=torch.bool, device=tokens.device)
        similarity = similarity.masked_fill(itself, float("-inf"))
        partner = torch.arange(len(embeddings), device=tokens.device) ^ 1  # 0 and 1, 2 and 3, ...
        contrast = F.cross_entropy(similarity, partner)
        found = (similarity.argmax(dim=1) == partner).float().mean().detach()
        return TermValue(self.weight * contrast, {"contrast": contrast, "found": found})
