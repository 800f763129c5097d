"""What a regularizer is: terms that keep embeddings from collapsing where no moving average does.

A predictor is never wrong about tokens that are always the same. These terms ask that clips be told apart.
"""

from typing import Any, Literal, Protocol, get_args

from torch import Tensor, nn

Over = Literal["clips", "places"]


class Regularizer(Protocol):
    """Terms over the clips of the global batch, and their weighted sum; a recipe names one by its `class_path`."""

    def forward(
        self,
        predicted: Tensor,  # (B, Nt, D) predicted tokens of a mask's hidden places
        tokens: Tensor,  # (B, N, D) target tokens of whole clips
        step: int,  # of the run: what is drawn at random is a function of it
    ) -> Any: ...  # a NamedTuple of terms, each ()

    def loss(self, terms: Any) -> Tensor: ...  # ()


def embeddings_of(
    predicted: Tensor,  # (B, Nt, D)
    tokens: Tensor,  # (B, N, D)
    over: Over,
    projector: nn.Module | None,
) -> list[Tensor]:  # float32: over clips two of (B, E), predicted and target; over places one of (B, N, E)
    """What must differ between clips: never mixed over places, since knowing only its place would let a token differ.

    Over clips: the mean of the predicted tokens, and that of all target tokens of a clip. Means of the hidden target
    tokens would differ by the mask alone. Over places: the target tokens; what is predicted has other places in each
    clip.
    """
    if over not in get_args(Over):
        raise ValueError(f"over '{over}' must be one of {', '.join(get_args(Over))}")
    parts = [predicted.mean(1), tokens.mean(1)] if over == "clips" else [tokens]
    return [(part if projector is None else projector(part)).float() for part in parts]


def check_enough_clips(
    embeddings: Tensor,  # (B, ...) of the global batch
) -> None:
    """Raise ValueError where there is nothing to take statistics of."""
    if len(embeddings) < 2:
        raise ValueError(
            f"a regularizer compares clips, and global_batch_size ({len(embeddings)}) must be at least 2 for that; "
            "try 64"
        )
