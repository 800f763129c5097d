"""Views of a clip, for objectives that compare them: which tokens each view keeps."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ViewSettings:
    """Views of each clip, alike but for what is drawn at random for each.

    Args:
        number: of views of each clip.
        keep_ratio: fraction of a view's tokens that it keeps, drawn anywhere in the clip. LeVJEPA keeps 0.05.
    """

    number: int
    keep_ratio: float = 1.0

    def __post_init__(self) -> None:
        if self.number < 1:
            raise ValueError(f"the number of views ({self.number}) must be at least 1")
        if not 0 < self.keep_ratio <= 1:
            raise ValueError(f"keep_ratio ({self.keep_ratio}) of a view must be more than 0 and at most 1")
        if self.number > 1 and self.keep_ratio == 1:
            raise ValueError(
                f"{self.number} views that keep all tokens of their clip (keep_ratio 1) are the same; "
                f"give a smaller keep_ratio"
            )
