"""A model independent of file formats: settings of constructors, weights by name, preprocessing of clips."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from torch import Tensor

from vjepa.data.clips.batch import PIXEL_MEAN, PIXEL_STD

Family = Literal["V-JEPA 1", "V-JEPA 2", "V-JEPA 2.1", "V-JEPA 2-AC", "LeVJEPA", "vjepa"]


class Part(NamedTuple):
    """One network."""

    settings: dict[str, Any]  # keyword arguments of its constructor
    weights: dict[str, Tensor]  # its state dict


@dataclass(frozen=True)
class Preprocessing:
    """Frames, rate, size and normalisation of clips."""

    num_frames: int = 16
    crop_size: tuple[int, int] = (256, 256)
    fps: float | None = 4.0  # frames per second of a clip; at most one of this and `frame_step`
    frame_step: float | None = None
    mean: tuple[float, float, float] = PIXEL_MEAN
    std: tuple[float, float, float] = PIXEL_STD

    def changed(
        self,
        num_frames: int | None = None,
        fps: float | None = None,
        frame_step: float | None = None,
        crop_size: tuple[int, int] | None = None,
    ) -> "Preprocessing":
        """With the given values in place of its own; `fps` drops `frame_step` and the other way round."""
        changes: dict[str, Any] = {"num_frames": num_frames, "crop_size": crop_size}
        changes = {name: value for name, value in changes.items() if value is not None}
        if fps is not None or frame_step is not None:
            changes |= {"fps": fps, "frame_step": frame_step}
        return replace(self, **changes)


@dataclass(frozen=True)
class Origin:
    """Origin of a model, for its card; None where it is unknown."""

    source: str
    encoder: str | None = None  # name of the encoder in the source
    data: str | None = None
    command: str | None = None
    licence: str | None = None


@dataclass(frozen=True)
class PortableModel:
    """Networks and settings of a model file.

    Args:
        family: released family; "vjepa" for a run or recipe of this package.
        encoder: a `VideoEncoder`.
        predictor: a `Predictor`.
        action_predictor: an `ActionPredictor`.
        classifiers: `AttentiveProbe`s.
        preprocessing: of clips.
        origin: for the model card.
    """

    family: Family
    encoder: Part | None
    predictor: Part | None = None
    action_predictor: Part | None = None
    classifiers: list[Part] = field(default_factory=list)
    preprocessing: Preprocessing = Preprocessing()
    origin: Origin = Origin("unknown")
