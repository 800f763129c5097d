"""Results of goal reaching: a printed table, and a JSON file with every episode."""

import hashlib
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from vjepa.data.atomic_file import new_file
from vjepa.envs.world import Suite, Tasks
from vjepa.evaluation.planning.goal_reaching import Evaluation
from vjepa.evaluation.planning.scores import Scores, Share, scored
from vjepa.evaluation.results import spread

FORMAT = "vjepa goal reaching 1"


class Result(NamedTuple):
    """Result of one policy, and one checkpoint where it has one, on one split."""

    policy: str
    split: str
    checkpoint: str | None  # None for baselines without a model
    evaluation: Evaluation
    scores: Scores


def result_of(policy: str, split: str, checkpoint: str | None, evaluation: Evaluation, suite: Suite) -> Result:
    return Result(policy, split, checkpoint, evaluation, scored(evaluation, suite.radii))


def print_tables(results: Sequence[Result], suite: Suite, title: str) -> None:
    """A table for each split: a row for each policy, over several checkpoints with mean and standard deviation."""
    console = Console(width=None if sys.stdout.isatty() else 144)  # a log file has no width
    for split in dict.fromkeys(result.split for result in results):
        here = [result for result in results if result.split == split]
        table = Table(title=f"{title}, {split}: goals reached in %, within a distance in {suite.unit}")
        table.add_column("policy", no_wrap=True)
        for way in ("touched", "at end"):
            for radius in suite.radii:
                table.add_column(f"{way}\n< {radius:g}", justify="right", no_wrap=True)
        for heading in ("path\neff.", "steps to\ntouch", "CPU-ms\nper plan", "CPU-s per\nepisode", "epi-\nsodes"):
            table.add_column(heading, justify="right", no_wrap=True)
        for policy in dict.fromkeys(result.policy for result in here):
            table.add_row(policy, *cells([result.scores for result in here if result.policy == policy]))
        console.print(table)


def cells(of_policy: Sequence[Scores]) -> list[str]:
    """A row. Path efficiency and steps are those of the largest radius; planning time is in brackets."""
    shares = [
        _share_cell([getattr(scores.at[number], way) for scores in of_policy])
        for way in ("touched", "at_end")
        for number in range(len(of_policy[0].at))
    ]
    planning = spread([scores.planning_seconds for scores in of_policy], 2)
    whole = spread([scores.seconds for scores in of_policy], 2)
    return [
        *shares,
        _mean_cell([scores.at[0].path_efficiency for scores in of_policy], 2),
        _mean_cell([scores.at[0].steps for scores in of_policy], 0),
        _mean_cell([scores.milliseconds_per_plan for scores in of_policy], 1),
        f"{whole}\n({planning})" if of_policy[0].planning_seconds else whole,
        f"{of_policy[0].episodes}" + (f"\n× {len(of_policy)}" if len(of_policy) > 1 else ""),
    ]


def _share_cell(shares: Sequence[Share]) -> str:
    mean = spread([100 * each.share for each in shares])
    return f"{mean}\n{100 * shares[0].low:.1f}–{100 * shares[0].high:.1f}" if len(shares) == 1 else mean


def _mean_cell(values: Sequence[float | None], decimals: int) -> str:
    known = [value for value in values if value is not None]
    return spread(known, decimals) if known else "–"


def write_report(
    folder: Path,
    results: Sequence[Result],
    suite: Suite,
    tasks: dict[str, Tasks],  # by split
    facts: dict[str, Any],  # configuration, checkpoints
) -> Path:
    """`goal_reaching.json`: settings, the tasks and their digest, and every episode of every policy."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "goal_reaching.json"
    whole = {
        "format": FORMAT,
        **facts,
        "suite": suite.name,
        "unit": suite.unit,
        "radii": list(suite.radii),
        "manifests": {split: manifest_of(suite, split, part) for split, part in tasks.items()},
        "results": [_as_dict(result) for result in results],
    }
    with new_file(path) as temporary:
        temporary.write_text(_indented(whole) + "\n", encoding="utf-8")
    return path


def _indented(whole: dict[str, Any]) -> str:
    """JSON with a line for each key, and for each list of numbers one line."""
    text = json.dumps(whole, indent=1, allow_nan=False)
    return re.sub(r"\[[^][{}\"]*\]", lambda numbers: " ".join(numbers[0].split()), text)


def manifest_of(suite: Suite, split: str, tasks: Tasks) -> dict[str, Any]:
    """The tasks and a digest that identifies them across evaluations."""
    rows = {name: part.tolist() for name, part in tasks._asdict().items()}
    text = json.dumps({"suite": suite.name, "split": split, **rows}, sort_keys=True)
    return {"sha256": hashlib.sha256(text.encode()).hexdigest(), **rows}


def _as_dict(result: Result) -> dict[str, Any]:
    episodes = {name: _plain(part) for name, part in result.evaluation.outcomes._asdict().items()}
    return {
        "policy": result.policy,
        "split": result.split,
        "checkpoint": result.checkpoint,
        "scores": result.scores.as_dict(),
        "episodes": episodes,
    }


def _plain(values: np.ndarray) -> list[Any]:
    """Numbers for JSON, which has no values that are not finite: they become null."""
    if values.dtype.kind != "f":
        return values.tolist()
    rounded = np.round(values, 4).astype(object)
    rounded[~np.isfinite(values)] = None
    return rounded.tolist()
