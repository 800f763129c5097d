"""A model between formats: settings of our constructors, weights under our names, and how its clips are cut."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from torch import Tensor

from vjepa.data.clips.batch import PIXEL_MEAN, PIXEL_STD

Family = Literal["V-JEPA 1", "V-JEPA 2", "V-JEPA 2.1", "V-JEPA 2-AC", "vjepa"]


class Part(NamedTuple):
    """One network."""

    settings: dict[str, Any]  # keywords of its constructor
    weights: dict[str, Tensor]  # its whole state dict


@dataclass(frozen=True)
class Preprocessing:
    """What a clip must be: this many frames at this rate, cut to this size, normalised by these statistics."""

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
    """Where a model comes from, for its card; None where the source doesn't say."""

    source: str
    encoder: str | None = None  # which of the source's encoders it is
    data: str | None = None
    command: str | None = None
    licence: str | None = None


@dataclass(frozen=True)
class PortableModel:
    """What a file of any format holds.

    Args:
        family: whose model it is; "vjepa" is a run or recipe of ours.
        encoder: a `VideoEncoder`.
        predictor: a `Predictor`, where the file has one.
        action_predictor: an `ActionPredictor`, where the file has one.
        classifiers: `AttentiveProbe`s.
        preprocessing: of clips.
        origin: where it comes from.
    """

    family: Family
    encoder: Part | None
    predictor: Part | None = None
    action_predictor: Part | None = None
    classifiers: list[Part] = field(default_factory=list)
    preprocessing: Preprocessing = Preprocessing()
    origin: Origin = Origin("unknown")
