"""Violation of expectation: which clip of a pair surprises more, when, and is it likely, plausible or impossible?

Validation pairs choose, row by row, the setting of pairs (by pairwise accuracy over all properties, less what harmless
changes are away from chance), the setting of single clips (by AUROC), and the thresholds. Without them settings are the
published ones: the least surprise over context lengths, averaged over windows for pairs, its maximum for single clips.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from vjepa.data.clips.matched_pairs import DecodedPair, MatchedPair, PairClips, PairSplit, WholeClip
from vjepa.data.progress import report_progress
from vjepa.evaluation.surprise.scores import (
    LOCATED_WITHIN,
    PERCENTILES,
    VERDICTS,
    Interval,
    PairScores,
    interval_of,
    mean_scores,
    moment,
    odd_surprises,
    resampled,
    verdicts,
)
from vjepa.evaluation.surprise.windows import POOLS, Scorer, Surprise

AGGREGATES = ("average", "maximum")  # over windows
MEAN = "mean"
Sums = Float64[np.ndarray, "pairs 2 candidates"]  # of plain and odd clips


class MeasuredPair(NamedTuple):
    """The surprise of both clips of a pair, by row of the table."""

    pair: MatchedPair
    plain: dict[str, Surprise]
    odd: dict[str, Surprise]
    frame_ids: np.ndarray  # of the frames of the shorter curve, in the file
    paths: tuple[str, str]
    difference_before: float | None  # of grey levels, the largest before the violation; None where that is unknown


class PropertyResult(NamedTuple):
    """A cell of the table: one row, the pairs of one property."""

    row: str
    property: str
    is_harmless: bool
    num_pairs: int
    scores: PairScores
    group_accuracy: float | None  # of groups whose odd clips surprise more in all; None without groups
    located: float | None  # fraction of pairs whose curves differ most near the violation; None where it is unknown
    located_alone: float | None  # the same by the peak of the odd clip's own curve
    pair_setting: str
    clip_setting: str


class CalibrationResult(NamedTuple):
    """How many test clips of one kind, "possible" or "impossible", have each of `VERDICTS`."""

    row: str
    kind: str
    num_clips: int
    fractions: dict[str, float]
    intervals: dict[str, Interval]


class SurpriseResults(NamedTuple):
    properties: list[PropertyResult]
    calibration: list[CalibrationResult]
    clips: list[dict[str, object]]  # a line for each test clip and row
    measured: list[MeasuredPair]  # of the test pairs
    curve_setting: dict[str, int]  # number of the pair setting of each row's curves


class SurpriseEvaluation:
    """Scores rows on the test pairs of `data`.

    Args:
        scorers: each gives one or several rows.
        seed: of the bootstrap.
        kept: called with every decoded test pair, for pictures.
    """

    def __init__(
        self,
        data: PairClips,
        scorers: Sequence[Scorer],
        seed: int = 0,
        kept: Callable[[DecodedPair], None] = lambda pair: None,
        report: Callable[[str], None] = print,
    ):
        self.data = data
        self.scorers = scorers
        self.seed = seed
        self.kept = kept
        self.report = report
        self.settings = {row: list(scorer.settings) for scorer in scorers for row in scorer.rows}

    def run(self) -> SurpriseResults:
        """Raises ValueError where a clip does not fit a scorer, or no pair can be read."""
        val = self._measure("val") if "val" in self.data.pairs else []
        test = self._measure("test")
        self._report_differences(test)
        results = SurpriseResults([], [], [], test, {})
        for row, settings in self.settings.items():
            for_pairs, for_clips = self._chosen(row, val)
            results.curve_setting[row] = for_pairs // len(AGGREGATES)
            names = [f"{settings[each // 2]}, {AGGREGATES[each % 2]} of windows" for each in (for_pairs, for_clips)]
            results.properties.extend(self._properties(row, test, for_pairs, for_clips, names))
            results.clips.extend(clip_lines(row, val, test, for_clips))
            if val:
                results.calibration.extend(self._calibrate(row, val, test, for_clips))
        return results

    def _measure(self, split: PairSplit) -> list[MeasuredPair]:
        pairs = self.data.pairs[split]
        what = f"{split} pairs, decoded and scored in {len(self.settings)} rows"
        found = []
        for decoded in report_progress(self.data.decoded_pairs(split), len(pairs), what):
            plain, odd = (
                self._scored(clip, path) for clip, path in zip((decoded.plain, decoded.odd), decoded.paths, strict=True)
            )
            if split == "test":
                self.kept(decoded)
            shorter = min((decoded.plain.frame_ids, decoded.odd.frame_ids), key=len)
            found.append(
                MeasuredPair(decoded.pair, plain, odd, shorter, decoded.paths, difference_before_violation(decoded))
            )
        if not found:
            path, reason = next(iter(self.data.unreadable.items()))
            raise ValueError(f"none of the {len(pairs)} {split} pairs can be read, the first is {path}: {reason}")
        return found

    def _scored(self, clip: WholeClip, path: str) -> dict[str, Surprise]:
        try:
            return {row: surprise for scorer in self.scorers for row, surprise in scorer(clip).items()}
        except ValueError as error:
            raise ValueError(f"{path} can't be scored: {error}") from None

    def _report_differences(self, test: Sequence[MeasuredPair]) -> None:
        known = [each.difference_before for each in test if each.difference_before is not None]
        if known and max(known) > 0:
            self.report(
                f"before their violation, the clips of {sum(each > 0 for each in known)} of {len(known)} test pairs "
                f"are not the same (by up to {max(known):.0f} of 255 grey levels): a lossy codec lets the future "
                f"into the past"
            )

    def _chosen(self, row: str, val: Sequence[MeasuredPair]) -> tuple[int, int]:
        """Numbers of the settings for pairs and for single clips."""
        by_property = [(is_harmless, sums) for _, is_harmless, sums in grouped(val, row)]
        groups, harmless = ([sums for each, sums in by_property if each == kind] for kind in (False, True))
        if not groups:
            least = (len(self.settings[row]) - len(POOLS)) * len(AGGREGATES)  # of all contexts; the mean of tokens
            return least, least + 1
        candidates = range(groups[0].shape[-1])
        scores = [mean_scores([each[:, :, k] for each in groups], self.seed) for k in candidates]
        harm = [float(np.mean([abs(accuracy(each[:, :, k]) - 0.5) for each in harmless] or [0.0])) for k in candidates]
        return (
            max(candidates, key=lambda k: (scores[k].accuracy - harm[k], scores[k].auroc)),
            max(candidates, key=lambda k: (scores[k].auroc, scores[k].accuracy)),
        )

    def _properties(
        self, row: str, test: Sequence[MeasuredPair], for_pairs: int, for_clips: int, names: Sequence[str]
    ) -> Iterator[PropertyResult]:
        def scores_of(groups: Sequence[Sums]) -> PairScores:
            by_pair, by_clip = (
                mean_scores([each[:, :, k] for each in groups], self.seed) for k in (for_pairs, for_clips)
            )
            return by_pair._replace(auroc=by_clip.auroc, auroc_interval=by_clip.auroc_interval)

        violations = []
        for pairs, is_harmless, sums in grouped(test, row):
            if not is_harmless:
                violations.append(sums)
            located = located_fractions(pairs, row, for_pairs // len(AGGREGATES))
            in_groups = group_accuracy(pairs, sums[:, :, for_pairs])
            about = (pairs[0].pair.property, is_harmless, len(pairs), scores_of([sums]))
            yield PropertyResult(row, *about, in_groups, *located, *names)
        if len(violations) > 1:
            about = (MEAN, False, sum(map(len, violations)), scores_of(violations))
            yield PropertyResult(row, *about, None, None, None, *names)

    def _calibrate(
        self, row: str, val: Sequence[MeasuredPair], test: Sequence[MeasuredPair], setting: int
    ) -> Iterator[CalibrationResult]:
        for kind, values in by_kind(test, row, setting).items():
            given = verdicts(values, thresholds_of(val, row, setting))
            weights = resampled(len(given), self.seed)
            parts = {name: given == number for number, name in enumerate(VERDICTS)}
            fractions = {name: float(part.mean()) for name, part in parts.items()}
            intervals = {name: interval_of(weights @ part) for name, part in parts.items()}
            yield CalibrationResult(row, kind, len(given), fractions, intervals)


def accuracy(sums: Float64[np.ndarray, "pairs 2"]) -> float:
    return float(odd_surprises(*sums.T).mean())


def clip_lines(
    row: str, val: Sequence[MeasuredPair], test: Sequence[MeasuredPair], setting: int
) -> Iterator[dict[str, object]]:
    """Each test clip's surprise and, where there are validation pairs, its verdict."""
    for each in test:
        values = aggregated(each, row)[:, setting]
        names = [VERDICTS[k] for k in verdicts(values, thresholds_of(val, row, setting))] if val else ["", ""]
        for odd, (path, value, name) in enumerate(zip(each.paths, values, names, strict=True)):
            about = {"row": row, "path": path, "pair": each.pair.name, "property": each.pair.property}
            possible = int(not odd or each.pair.is_harmless)
            yield about | {"possible": possible, "odd": odd, "surprise": f"{value:.6g}", "verdict": name}


def thresholds_of(val: Sequence[MeasuredPair], row: str, setting: int) -> Float64[np.ndarray, " k"]:
    """The percentiles of possible validation clips."""
    return np.percentile(by_kind(val, row, setting)["possible"], PERCENTILES)


def aggregated(measured: MeasuredPair, row: str) -> Float64[np.ndarray, "2 candidates"]:
    """Of the plain and the odd clip, in every setting the average and the maximum of windows."""
    windows = [surprise[row].windows.double().numpy() for surprise in (measured.plain, measured.odd)]
    return np.stack([np.stack((each.mean(1), each.max(1)), axis=1).ravel() for each in windows])


def grouped(measured: Sequence[MeasuredPair], row: str) -> Iterator[tuple[list[MeasuredPair], bool, Sums]]:
    """By property, harmless pairs last: pairs, whether they are harmless, (pairs, 2, candidates) of `aggregated`."""

    def key(each: MeasuredPair) -> tuple[bool, str]:
        return each.pair.is_harmless, each.pair.property

    for (is_harmless, _), members in groupby(sorted(measured, key=key), key):
        pairs = list(members)
        yield pairs, is_harmless, np.stack([aggregated(each, row) for each in pairs])


def by_kind(measured: Sequence[MeasuredPair], row: str, setting: int) -> dict[str, Float64[np.ndarray, " n"]]:
    """The surprise of all possible clips, harmless changes among them, and of all impossible ones."""
    found: dict[str, list[float]] = {"possible": [], "impossible": []}
    for each in measured:
        plain, odd = aggregated(each, row)[:, setting]
        found["possible"].append(plain)
        found["possible" if each.pair.is_harmless else "impossible"].append(odd)
    return {kind: np.array(values) for kind, values in found.items() if values}


def located_fractions(pairs: Sequence[MeasuredPair], row: str, setting: int) -> tuple[float, float] | tuple[None, None]:
    """Fractions of pairs with a known violation whose curves differ most there, and whose odd curve peaks there."""
    hits = []
    for each in pairs:
        frame, count = each.pair.violation_frame, len(each.frame_ids)
        if frame is None:
            continue
        plain, odd = (found[row].curve[setting, :count].double().numpy() for found in (each.plain, each.odd))
        moments = (moment(curve, each.frame_ids) for curve in ((odd - plain).clip(min=0), odd))
        hits.append([found is not None and abs(found - frame) <= LOCATED_WITHIN for found in moments])
    if not hits:
        return None, None
    by_pair, alone = np.mean(hits, axis=0)
    return float(by_pair), float(alone)


def group_accuracy(pairs: Sequence[MeasuredPair], sums: Float64[np.ndarray, "pairs 2"]) -> float | None:
    """1 minus IntPhys's relative error rate: groups (quadruplets) whose odd clips surprise more in all, ties half."""
    names = [each.pair.group for each in pairs]
    if not any(names):
        return None
    totals = np.stack([sums[[name == each for each in names]].sum(0) for name in sorted({*names})])
    return float(odd_surprises(totals[:, 0], totals[:, 1]).mean())


def difference_before_violation(decoded: DecodedPair) -> float | None:
    """The largest difference of grey levels between the clips of a pair in the frames before its violation."""
    frame = decoded.pair.violation_frame
    ids = [clip.frame_ids for clip in (decoded.plain, decoded.odd)]
    if frame is None or not np.array_equal(ids[0][ids[0] < frame], ids[1][ids[1] < frame]):
        return None
    count = int((ids[0] < frame).sum())
    plain, odd = (clip.frames[:, :count].short() for clip in (decoded.plain, decoded.odd))
    return float((plain - odd).abs().max()) if count else 0.0
