"""Class-mean recall@5, the measure of EPIC-Kitchens-100's anticipation challenge (Damen et al., arXiv 2006.13256)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor
from torchmetrics.classification import MulticlassRecall


class ClassMeanRecall(MulticlassRecall):
    """Recall among the `top_k` best guesses, averaged over the classes that occur among the labels.

    The macro average of torchmetrics includes classes that do not occur, with a recall of 0.

    Args:
        num_scored: classes that have a score. A class that no training clip has is never guessed.
        num_classes: all classes that labels may have.
        top_k: number of guesses; all classes where there are fewer.
    """

    def __init__(self, num_scored: int, num_classes: int, top_k: int = 5):
        num_classes = max(2, num_classes)  # torchmetrics asks for two
        super().__init__(num_classes=num_classes, top_k=min(top_k, num_scored), average="none")
        self.num_never = num_classes - num_scored

    def update(self, scores: Float[Tensor, "B num_scored"], labels: Int64[Tensor, " B"]) -> None:
        super().update(F.pad(scores.float(), (0, self.num_never), value=-torch.inf), labels)

    def compute(self) -> Tensor:
        right, wrong = self.tp, self.fn
        assert isinstance(right, Tensor) and isinstance(wrong, Tensor)
        occurs = right + wrong > 0
        return (right[occurs] / (right + wrong)[occurs]).mean()
