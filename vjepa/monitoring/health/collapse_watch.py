"""A verdict in words on the health of a run, from its own curves: pure arithmetic on numbers, no networks.

A run is compared with its own first readings, since random weights may have low numbers of their own, and with limits
that hold for all runs; what counts is the median of a moving window, so that one noisy step says nothing.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from statistics import median
from typing import NamedTuple

Reading = Mapping[str, float]  # of one step; names without `health/`

WATCHED = {
    "target_variance": "the variance of targets between clips",
    "target_cosine": "the cosine between targets of different clips",
    "target_rank": "the effective rank of targets",
    "context_rank": "the effective rank of context tokens",
    "target_std": "the std of targets",
    "context_std": "the std of context tokens",
    "view_variance": "the variance of views between clips",
    "view_cosine": "the cosine between views of different clips",
    "view_rank": "the effective rank of views",
    "view_std": "the std of views",
    "encoder_distance": "the distance between the encoders",
}
COSINES = ("target_cosine", "view_cosine")
LESS_IS_HEALTHIER = (*COSINES, "encoder_distance")


class Verdict(IntEnum):
    """What `health/verdict` means."""

    HEALTHY = 0
    TEACHER_LAGGING = 1
    SHRINKING = 2
    COLLAPSED = 3

    @property
    def words(self) -> str:
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True)
class HealthLimits:
    """Limits of a healthy run.

    Args:
        window: the verdict is on the median of so many readings.
        first_readings: the run is compared with the best of so many first readings.
        fraction_of_first: a run has collapsed only where less than this fraction of its first variance, 1 - cosine or
            rank is left, and one of the next three limits is broken.
        min_variance: of layer-normed targets, or of layer-normed embeddings of views, between clips.
        max_cosine: between targets of different clips at the same position, or between their views.
        min_rank: effective rank of targets, context tokens or views; with a moving average the context's falls first.
        min_separation: variance, or 1 - cosine, below which a run has collapsed whatever its first readings.
        shrunk_fraction: tokens shrink where their std is below this fraction of the first.
        max_encoder_distance: the teacher lags where the target encoder's weights are further than this from the context
            encoder's (L2 distance over the size of the context encoder's), and the distance grows over the window.
    """

    window: int = 5
    first_readings: int = 3
    fraction_of_first: float = 0.3
    min_variance: float = 0.2
    max_cosine: float = 0.8
    min_rank: float = 3.0
    min_separation: float = 1e-3
    shrunk_fraction: float = 0.5
    max_encoder_distance: float = 0.5

    def __post_init__(self) -> None:
        for name in ("window", "first_readings"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} ({getattr(self, name)}) of the health limits must be at least 1")
        for name in ("fraction_of_first", "shrunk_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"{name} ({getattr(self, name)}) of the health limits is a fraction of a run's first readings and "
                    f"must lie between 0 and 1; 0 turns it off"
                )


class Judgement(NamedTuple):
    verdict: Verdict
    reason: str  # which quantity broke which limit; empty where healthy

    @property
    def words(self) -> str:
        return self.verdict.words + (f": {self.reason}" if self.reason else "")


def judge(
    first: Reading,  # the best of the first readings
    window: Sequence[Reading],  # the last ones
    limits: HealthLimits,
) -> Judgement:
    """The worst verdict on the medians of a window, over the quantities that the run has."""
    now = {name: median(values) for name in first if (values := _known(name, window))}
    least_of = {
        **dict.fromkeys(("target_variance", "view_variance"), limits.min_variance),
        **dict.fromkeys(COSINES, 1 - limits.max_cosine),
        **dict.fromkeys(("target_rank", "context_rank", "view_rank"), limits.min_rank),
    }
    reasons = []
    for name, least in least_of.items():
        if name not in now:
            continue
        # How far clips are from being all alike, now and at the start.
        room, at_first = (1 - of[name] if name in COSINES else of[name] for of in (now, first))
        if "rank" not in name and room < limits.min_separation:
            reasons.append(f"{WATCHED[name]} is {now[name]:.3g}")
        elif room < least and room < limits.fraction_of_first * at_first:
            reasons.append(f"{WATCHED[name]} is {now[name]:.3g}, it was {first[name]:.3g}")
    if reasons:
        return Judgement(Verdict.COLLAPSED, " and ".join(reasons))
    for name in ("target_std", "context_std", "view_std"):
        if name in now and now[name] < limits.shrunk_fraction * first[name]:
            return Judgement(Verdict.SHRINKING, f"{WATCHED[name]} is {now[name]:.3g}, it was {first[name]:.3g}")
    distances = _known("encoder_distance", window)
    if now.get("encoder_distance", 0.0) > limits.max_encoder_distance and _grows(distances):
        return Judgement(
            Verdict.TEACHER_LAGGING,
            f"the target encoder's weights are {now['encoder_distance']:.3g} of the context encoder's size away, and "
            f"fall further behind",
        )
    return Judgement(Verdict.HEALTHY, "")


def best_of(readings: Sequence[Reading]) -> dict[str, float]:
    """The healthiest value of each quantity that a run is later compared with."""
    return {
        name: min(values) if name in LESS_IS_HEALTHIER else max(values)
        for name in WATCHED
        if (values := _known(name, readings))
    }


def _known(name: str, readings: Sequence[Reading]) -> list[float]:
    """What is not finite is as bad as can be: embeddings were not."""
    worst = {**dict.fromkeys(COSINES, 1.0), "encoder_distance": math.inf}.get(name, 0.0)
    return [reading[name] if math.isfinite(reading[name]) else worst for reading in readings if name in reading]


def _grows(values: Sequence[float]) -> bool:
    """Whether the later half of the values is, by its median, above the earlier one."""
    half = len(values) // 2
    return half > 0 and median(values[-half:]) > median(values[:half])


class CollapseWatch:
    """Readings of a run in their order, and what they say. Its state goes into the run's checkpoints."""

    def __init__(self, limits: HealthLimits):
        self.limits = limits
        self.restart()

    def restart(self) -> None:
        """Forget everything: another run begins."""
        self._first: list[dict[str, float]] = []
        self._window: deque[dict[str, float]] = deque(maxlen=self.limits.window)
        self.judgement: Judgement | None = None  # None until a window is full

    def add(self, reading: Reading) -> Judgement | None:
        """The judgement with this reading."""
        kept = {name: float(reading[name]) for name in WATCHED if name in reading}
        if len(self._first) < self.limits.first_readings:
            self._first.append(kept)
        self._window.append(kept)
        if len(self._window) == self.limits.window:
            self.judgement = judge(best_of(self._first), self._window, self.limits)
        return self.judgement

    def forget_window(self) -> None:
        """Judge again when a new window is full, for a run whose weights were restored."""
        self._window.clear()
        self.judgement = None

    def state_dict(self) -> dict[str, list[dict[str, float]]]:
        return {"first": list(self._first), "window": list(self._window)}

    def load_state_dict(self, state: Mapping[str, list[dict[str, float]]]) -> None:
        self.restart()
        self._first = list(state["first"])
        self._window.extend(state["window"])
        if len(self._window) == self.limits.window:
            self.judgement = judge(best_of(self._first), self._window, self.limits)
