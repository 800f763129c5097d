"""How well goals were reached: success rates with Wilson's intervals, path efficiency, steps and computing time."""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from vjepa.evaluation.planning.goal_reaching import Evaluation, Outcomes

Z = 1.959964  # 95 % of a normal distribution lie within so many standard deviations


class Share(NamedTuple):
    share: float
    low: float  # 95 % interval over episodes
    high: float


class AtRadius(NamedTuple):
    radius: float
    touched: Share
    at_end: Share
    path_efficiency: float | None  # None where shortest paths are not known
    steps: float | None  # raw steps until touched, mean over episodes that touched; None without any


class Scores(NamedTuple):
    """Scores of one policy on the episodes of one split."""

    episodes: int
    at: list[AtRadius]  # largest radius first
    milliseconds_per_plan: float | None  # of the processor; None without plans
    planning_seconds: float  # of the processor, per episode
    seconds: float  # of the processor, per episode, including frames, latents and the world's steps

    def as_dict(self) -> dict[str, Any]:
        at = [
            {**each._asdict(), "touched": each.touched._asdict(), "at_end": each.at_end._asdict()} for each in self.at
        ]
        return {**self._asdict(), "at": at}


def scored(evaluation: Evaluation, radii: tuple[float, ...]) -> Scores:
    outcomes, plans = evaluation.outcomes, evaluation.num_plans
    episodes = len(outcomes.last)
    return Scores(
        episodes,
        [_at_radius(outcomes, radii, number) for number in range(len(radii))],
        1000 * evaluation.plan_seconds / plans if plans else None,
        evaluation.plan_seconds / episodes,
        evaluation.seconds / episodes,
    )


def _at_radius(outcomes: Outcomes, radii: tuple[float, ...], number: int) -> AtRadius:
    after = outcomes.touched_after[:, number]
    touched, at_end = after > 0, outcomes.at_end(radii)[:, number]
    efficiency = path_efficiency(touched, outcomes.travelled[:, number], outcomes.shortest)
    steps = float(after[touched].mean()) if touched.any() else None
    return AtRadius(radii[number], wilson(touched), wilson(at_end), efficiency, steps)


def wilson(succeeded: Bool[np.ndarray, " B"]) -> Share:
    """A success rate with its 95 % score interval (Wilson 1927), which holds near 0 and 1, too."""
    n, p = len(succeeded), float(np.mean(succeeded))
    middle = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    return Share(p, max(0.0, middle - half), min(1.0, middle + half))


def path_efficiency(
    succeeded: Bool[np.ndarray, " B"],
    travelled: Float[np.ndarray, " B"],  # until success; anything where there was none
    shortest: Float[np.ndarray, " B"],
) -> float | None:
    """Success weighted by path length, SPL (Anderson and others 2018, arXiv 1807.06757).

    The mean of shortest / max(travelled, shortest), which is 0 for an episode that failed. The shortest path is that to
    the goal itself, so stopping at the edge of a large radius is not penalised.
    """
    if not np.isfinite(shortest).all():
        return None
    ratios = shortest / np.maximum(np.where(succeeded, travelled, np.inf), shortest)
    return float(ratios.mean())
