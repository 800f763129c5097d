"""What a reader found in a file: what fitted, what did not, and what was left out."""

from dataclasses import dataclass, field

_SHOWN = 8  # names per list in the text; the lists hold all


@dataclass
class Report:
    """Names are of the file's networks: `encoder.blocks.0.norm1.weight`.

    Args:
        source: the file or folder.
        format: what it was read as.
        missing: what the model needs and the file has not.
        unexpected: what the file has and the model has not.
        reshaped: what has another shape.
        dropped: what was left out on purpose: position tables that are computed, optimizer states, other encoders.
        trained_mask_tokens: numbers of the predictor's mask tokens that are not all zero.
        notes: what was assumed, since the file doesn't say it.
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
        """Raises ValueError with the whole text where weights and settings don't fit."""
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
