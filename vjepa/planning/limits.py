"""The largest action of an agent."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

LimitKind = Literal["norm", "box"]


@dataclass(frozen=True)
class ActionLimit:
    """The bound of an action.

    Args:
        size: the longest action ("norm"), or the largest absolute value of each of its numbers ("box").
        kind: which of the two.
    """

    size: float
    kind: LimitKind = "box"

    def __post_init__(self) -> None:
        if self.kind not in get_args(LimitKind):
            raise ValueError(f"kind of limit '{self.kind}' must be one of {', '.join(get_args(LimitKind))}")
        if not self.size > 0:
            raise ValueError(f"the size of an action limit ({self.size}) must be more than 0")

    def bounded(self, actions: Float[Tensor, "... A"]) -> Float[Tensor, "... A"]:  # the nearest within the limit
        if self.kind == "box":
            return actions.clamp(-self.size, self.size)
        length = torch.linalg.vector_norm(actions, dim=-1, keepdim=True)
        return actions * (self.size / length.clamp(min=self.size))

    def bounded_array(
        self,
        actions: np.ndarray,  # (..., A)
    ) -> np.ndarray:  # (..., A)
        return self.bounded(torch.from_numpy(np.ascontiguousarray(actions))).numpy()
