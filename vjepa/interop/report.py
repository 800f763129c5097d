"""Report of reading a model: weights that fit, do not fit, or are left out."""

from dataclasses import dataclass, field

_SHOWN = 8  # names of each list in the text


@dataclass
class Report:
    """Names of weights begin with their network: `encoder.blocks.0.norm1.weight`.

    Args:
        source: the file or folder.
        format: format of the source.
        missing: weights of the model that the file lacks.
        unexpected: weights of the file that the model lacks.
        reshaped: weights of another shape.
        dropped: parts left out on purpose: computed position tables, optimizer states, other encoders.
        trained_mask_tokens: indices of the predictor's mask tokens that are not all zero.
        notes: assumptions.
    """

    source: str
    format: str
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    trained_mask_tokens: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def fits(self) -> bool:
        return not (self.missing or self.unexpected or self.reshaped)

    def require_fit(self) -> None:
        """Raises ValueError with the text of the report where weights and settings don't fit."""
        if not self.fits:
            raise ValueError(str(self))

    def __str__(self) -> str:
        verdict = "all weights fit" if self.fits else "does not fit this model, nothing was loaded"
        lines = [f"{self.source} ({self.format}): {verdict}"]
        for title in ("missing", "unexpected", "reshaped", "dropped"):
            names: list[str] = getattr(self, title)
            if names:
                more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
                lines.append(f"  {title}: {', '.join(names[:_SHOWN])}{more}")
        if self.trained_mask_tokens:
            lines.append(f"  trained mask tokens: {', '.join(map(str, self.trained_mask_tokens))}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])
