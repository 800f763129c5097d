"""Where episodes begin in arrays that hold several of them one after another, by the names that datasets use.

* Flags of an episode's last row: `terminals` and `timeouts` (D4RL, OGBench), `terminated`, `truncated`, `dones`
  (gymnasium), `is_last` (RLDS). An episode ends where any of them says so, and where a counter (`step_idx`) falls.
* What states every episode: flags of first rows (`is_first`, a `step_type` of 0 in dm_env), a number for each row
  (`episode_index`), ends (`episode_ends` of Diffusion Policy: the rows behind the last ones), first rows, or lengths
  (stable-worldmodel's `ep_len` and `ep_offset`). Several of these must agree, and no flag may lie inside an episode:
  `terminals` leave out time-outs, but they mark nothing else.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise, starmap
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, Shaped

EPISODE = "(?:eps?|episodes?|trajs?|trajectory|trajectories|demos?|rollouts?)"
NUMBER = "(?:idxs?|index|indices|ids?|nums?|numbers?)"
ENDED = "(?:term|terminals?|terminat(?:ed?|ions?)|time_?outs?|trunc|truncat(?:ed?|ions?)|dones?|absorbing)"
UNIT = "(?:s|secs?|seconds?|ms|us|ns|nano_?seconds?)"
KINDS = {
    "last": rf"(?:is_|next_|{EPISODE}_)*{ENDED}(?:_(?:flags?|bool|float))?|(?:is_|{EPISODE}_)+last",
    "first": rf"(?:is_|{EPISODE}_)+first",
    "starts": rf"{EPISODE}_(?:offsets?|(?:start|begin)s?(?:_{NUMBER})?)",
    "ends": rf"{EPISODE}_ends?(?:_{NUMBER})?",
    "lengths": rf"(?:{EPISODE}|seq|sequence)_(?:len|length)s?|lengths",
    "labels": rf"ep|episodes?|{EPISODE}_(?:{NUMBER}|names?|keys?|uuids?)|(?:seq|sequence)_(?:idx|index|id)",
    "types": "step_types?",
    "counter": rf"(?:(?:{EPISODE}|env|elapsed)_)?(?:(?:time_?)?steps?|frame)(?:_(?:{NUMBER}|counts?|in_{EPISODE}))?"
    rf"|t|ticks?|(?:time_?stamps?|times?)(?:_{UNIT})?",
}
# Other names that may state boundaries: one of these words, or as a whole one of the names.
SUSPECT_WORDS = rf"{EPISODE}|{ENDED}|resets?|boundar(?:y|ies)|trials?|sessions?|takes?|recordings?"
SUSPECT_NAMES = "(?:is_)?(?:first|last|starts?|begins?|ends?|segments?|masks?|valids?|discounts?|cont|continues?)"
SUSPECT_NAMES += rf"(?:_{NUMBER})?|non_?terminals?|eoe|lens|splits?|(?:n|num)_(?:frames|steps)"
SUSPECT_NAMES += rf"|(?:runs?|clips?|videos?|sequences?|seqs?|scenes?|games?|envs?|files?)(?:_(?:{NUMBER}|names?))?"
INNOCENT_WORDS = "over|rewards?|returns?|success(?:es)?|scores?|seeds?"
FLAGS_OF = {"starts": "first", "ends": "last", "lengths": None}  # what such names are where their values are flags


class Span(NamedTuple):
    """Rows of an episode: from `start` up to before `stop`."""

    start: int
    stop: int


def kind_of(name: str) -> str | None:
    """What an array of this name states, a key of `KINDS`."""
    return next((kind for kind, pattern in KINDS.items() if re.fullmatch(pattern, _plain(name))), None)


def is_suspect(name: str) -> bool:
    """Whether an array of another name may state boundaries, too."""
    words = _plain(name).split("_")
    has = [any(re.fullmatch(pattern, word) for word in words) for pattern in (SUSPECT_WORDS, INNOCENT_WORDS)]
    return has == [True, False] or re.fullmatch(SUSPECT_NAMES, _plain(name)) is not None


def of_group(group: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays of a group of several, which is an episode: flags of its end may stay raised, which is one end.

    In one that is named as an episode (robomimic's `demo_0`), flags may be raised anywhere: its `dones` tell success.
    """
    if re.fullmatch(rf"{EPISODE}_?\d+", _plain(group)):
        return {name: values for name, values in arrays.items() if kind_of(name) not in ("last", None)}
    found = {name: without_last_axis(values) for name, values in arrays.items()}
    for name, values in found.items():
        is_of_end = kind_of(name) == "last" and values.ndim == 1 and np.isin(values, (0, 1)).all()
        if is_of_end and values.any() and not values[0] and values[np.argmax(values) :].all():
            found[name] = np.arange(len(values)) == len(values) - 1
    return found


def episode_spans(arrays: Mapping[str, np.ndarray], num_rows: int, where: str) -> list[Span]:
    """The episodes of so many rows of frames, in the order of the file; those of length 0 are there, too.

    Args:
        arrays: those of the file that may state boundaries, by name.
        where: the file, in messages.

    Raises:
        ValueError: an array can't be understood, or two disagree; the message names them.
    """
    columns = {}
    for name, array in arrays.items():
        kind, values = kind_of(name), without_last_axis(array)
        if kind in FLAGS_OF and _are_flags(values, num_rows):
            kind = FLAGS_OF[kind]
        columns[f"'{name}' of {where}"] = kind, values
    stated = _by_numbers_of_episodes(columns, num_rows)
    of_rows, marked = _by_rows(columns, {len(spans) for spans in stated.values()}, num_rows)
    stated |= of_rows
    if stated:
        return _agreed(stated, marked, num_rows)
    firsts = np.unique(np.concatenate([np.zeros(1, np.int64), *marked.values()])).tolist()
    for name, (kind, values) in columns.items() if len(firsts) == 1 else ():
        if kind is None and _could_state(values, num_rows):
            raise ValueError(
                f"{name} may say where episodes begin, and it is not known how; give 'episode_index', a number for "
                "each row, or remove it"
            )
    return _between([*firsts, num_rows])


Columns = Mapping[str, tuple[str | None, Shaped[np.ndarray, "..."]]]  # kinds and values of arrays
Rows = Int64[np.ndarray, "..."]  # one axis


def _by_numbers_of_episodes(columns: Columns, num_rows: int) -> dict[str, list[Span]]:
    """What arrays with a number for each episode state."""
    stated: dict[str, list[Span]] = {}
    firsts: dict[str, Rows] = {}
    lengths: dict[str, Rows] = {}
    for name, (kind, values) in columns.items():
        if kind not in ("lengths", "starts", "ends"):
            continue
        if values.ndim == 0 and kind == "lengths" and values.dtype.kind in "iuf" and values == num_rows - 1:
            continue  # steps of the one episode
        numbers = _integers(np.atleast_1d(values), name, num_rows)
        if kind != "ends":
            (firsts if kind == "starts" else lengths)[name] = numbers
            continue
        if (np.diff(numbers) < 0).any() or numbers[-1:].tolist() != [num_rows]:
            raise ValueError(
                f"{name} must ascend to {num_rows}, the number of frames, as each is the row behind an episode's last; "
                f"it ends with {numbers[-2:].tolist()}"
            )
        stated[name] = _between([0, *numbers.tolist()])
    for name, numbers in lengths.items():
        stated[name] = _of_lengths(numbers, firsts, name, num_rows)
    for name, numbers in firsts.items() if not lengths else ():
        if numbers[:1].tolist() != [0] or (np.diff(numbers) < 0).any():
            raise ValueError(f"{name} must ascend from 0, the first row, and is {numbers[:4].tolist()} ...")
        stated[name] = _between([*numbers.tolist(), num_rows])
    return stated


def _by_rows(columns: Columns, counts: set[int], num_rows: int) -> tuple[dict[str, list[Span]], dict[str, Rows]]:
    """What arrays with a value for each row state, and the rows at which an episode begins by flags and counters.

    Values for each episode, whose `counts` are known, or one for the whole file are left out.
    """
    stated: dict[str, list[Span]] = {}
    marked: dict[str, Rows] = {}
    ends: dict[str, Bool[np.ndarray, " rows"]] = {}
    for name, (kind, values) in columns.items():
        is_of_rows = values.ndim == 1 and len(values) in (num_rows, num_rows - 1)
        if kind == "counter" and is_of_rows and values.dtype.kind in "iuf":
            change = np.diff(values.astype(float))
            if (change > 0).sum() >= (change < 0).sum():  # else it counts down, or is no counter
                marked[name] = np.flatnonzero(change < 0) + 1
        of_others = values.size == 1 < num_rows or (values.ndim == 1 and not is_of_rows and len(values) in counts)
        if kind not in ("last", "first", "types", "labels") or of_others:
            continue
        if not is_of_rows or (len(values) < num_rows and kind != "last"):
            raise ValueError(f"{name} has shape {values.shape}; it must have a value for each of {num_rows} frames")
        if kind == "labels":
            stated[name] = _between([*_firsts_of_labels(values, name), num_rows])
            continue
        flags = _are_first(values, name) if kind == "types" else _flags(values, name)
        if kind in ("first", "types"):
            if not flags[0]:
                raise ValueError(f"{name} is not set at row 0, where the first episode begins")
            stated[name] = _between([*np.flatnonzero(flags).tolist(), num_rows])
        elif len(flags) == num_rows:
            ends[name] = flags
        elif flags[:-1].any():
            raise ValueError(f"{name} has {len(flags)} values for {num_rows} frames; it must have as many")
    is_end = np.any([np.zeros(num_rows, bool), *ends.values()], axis=0)
    if is_end[:1].any() and not is_end[-1]:
        names = " and ".join(ends)
        raise ValueError(
            f"{names} is set at row 0 and not at the last; if it marks first rows its name must be 'is_first'"
        )
    if is_end.any():
        marked[" and ".join(ends)] = np.flatnonzero(is_end[:-1]) + 1
    return stated, marked


def _plain(name: str) -> str:
    """In snake case, without folders: `obs/isFirst` is is_first, and `episode/index` episode_index."""
    *folders, last = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("/")
    if folders and re.fullmatch(rf"from|to|starts?|ends?|lens?|lengths?|offsets?|{NUMBER}", last):
        last = f"{folders[-1]}_{last}"
    return re.sub(r"[^a-z0-9]+", "_", last).strip("_")


def without_last_axis(values: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    """Without a last axis of one."""
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _are_flags(values: Shaped[np.ndarray, "..."], num_rows: int) -> bool:
    """Whether numbers that could be rows are flags of each row instead."""
    return values.dtype == bool or (
        values.shape == (num_rows,) and values.dtype.kind in "iuf" and bool(np.isin(values, (0, 1)).all())
    )


def _flags(values: Shaped[np.ndarray, " n"], name: str) -> Bool[np.ndarray, " n"]:
    if values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all():
        odd = next((value for value in values.tolist() if value not in (0, 1)), None)
        raise ValueError(f"{name} must be flags, 0 or 1 for each row, and has {odd!r}; mend or remove it")
    return values.astype(bool)


def _are_first(types: Shaped[np.ndarray, " n"], name: str) -> Bool[np.ndarray, " n"]:
    if types.dtype.kind not in "iuf" or not np.isin(types, (0, 1, 2)).all():
        raise ValueError(f"{name} must be 0 at first rows, 2 at last ones, and 1 between, not {types[:3]} ...")
    return np.equal(types, 0)


def _integers(values: Shaped[np.ndarray, "..."], name: str, num_rows: int) -> Rows:
    if values.ndim != 1 or values.dtype.kind not in "iuf" or not np.equal(values, np.round(values)).all():
        raise ValueError(f"{name} must be whole numbers of rows, one for each episode, not {values.ravel()[:3]} ...")
    outside = (values < 0) | (values > num_rows)
    if outside.any():
        raise ValueError(f"{name} has {values[outside][0]:g}, and there are {num_rows} frames; mend or remove it")
    return values.astype(np.int64)


def _between(edges: Sequence[int]) -> list[Span]:
    return list(starmap(Span, pairwise(edges)))


def _of_lengths(lengths: Rows, firsts: Mapping[str, Rows], name: str, num_rows: int) -> list[Span]:
    starts = next(iter(firsts.values()), np.cumsum(lengths) - lengths)
    for of_others, others in firsts.items():
        if len(others) != len(lengths):
            raise ValueError(f"{name} has {len(lengths)} episodes and {of_others} {len(others)}; mend or remove one")
        if (others != starts).any():
            raise ValueError(f"{' and '.join(firsts)} are not the same first rows; mend or remove one")
    if not firsts and lengths.sum() != num_rows:
        raise ValueError(
            f"{name} sums to {lengths.sum()}, and there are {num_rows} frames; mend it, or give the first rows of "
            f"episodes as 'ep_offset'"
        )
    spans = list(map(Span, starts.tolist(), (starts + lengths).tolist()))
    in_order = sorted(span for span in spans if span.stop > span.start)
    for span, following in pairwise([*in_order, Span(num_rows, num_rows)]):
        if span.stop > following.start:
            what = "the frames end" if following.start == num_rows else "the next one begins"
            raise ValueError(
                f"{name} gives an episode rows {span.start} to {span.stop}, but {what} at row {following.start}; mend "
                f"or remove it"
            )
    return spans


def _firsts_of_labels(values: Shaped[np.ndarray, " rows"], name: str) -> list[int]:
    is_number, is_object = values.dtype.kind in "iuf", values.dtype.kind == "O"
    if not (is_number or values.dtype.kind in "SUb" or (is_object and isinstance(values[0], str | bytes))):
        raise ValueError(f"{name} must be a number or a name for each row, not {values[:1].tolist()} ...")
    firsts = np.append(0, np.flatnonzero(values[1:] != values[:-1]) + 1)
    of_episodes = values[firsts]
    if len(firsts) == len(values) > 1:
        raise ValueError(f"{name} is another in every row, so no episode has two frames; mend or remove it")
    if is_number and not (np.diff(of_episodes.astype(float)) > 0).all():
        raise ValueError(f"{name} must not fall from row to row, and is {of_episodes[:4].tolist()} ...; sort the rows")
    if is_number and (odd := of_episodes[of_episodes != np.round(of_episodes)]).size:
        raise ValueError(f"{name} must be whole numbers, and has {odd[0]:g}")
    if len(set(of_episodes.tolist())) < len(firsts):
        raise ValueError(f"{name} comes back to an episode that ended before; sort the rows by episode")
    return firsts.tolist()


def _agreed(stated: Mapping[str, list[Span]], marked: Mapping[str, Rows], num_rows: int) -> list[Span]:
    """The episodes that all arrays state, none of which goes over a marked row."""
    # Lengths with first rows can leave rows out; they come first.
    first, *others = sorted(stated, key=lambda name: sum(stop - start for start, stop in stated[name]))
    of_first = _episode_of_rows(stated[first], num_rows)
    is_inside = (of_first[1:] >= 0) & (of_first[:-1] >= 0)
    begins = np.diff(of_first) != 0
    for name in others:
        differ = np.flatnonzero(is_inside & (begins != (np.diff(_episode_of_rows(stated[name], num_rows)) != 0)))
        if len(differ):
            raise ValueError(
                f"{first} and {name} disagree whether an episode begins at row {differ[0] + 1}; mend or remove one"
            )
    for name, rows in marked.items():
        inside = [row for row in rows.tolist() if is_inside[row - 1] and not begins[row - 1]]
        if inside:
            raise ValueError(
                f"by {name} an episode ends before row {inside[0]}, which is inside one by {first}; mend or remove one"
            )
    return stated[first]


def _episode_of_rows(spans: list[Span], num_rows: int) -> Int64[np.ndarray, " rows"]:
    """The number of each row's episode; -1 where there is none."""
    numbers = np.full(num_rows, -1)
    for number, span in enumerate(spans):
        numbers[span.start : span.stop] = number
    return numbers


def _could_state(values: Shaped[np.ndarray, "..."], num_rows: int) -> bool:
    """Whether values could be flags or labels of all rows, rows at which episodes begin, or their lengths."""
    if values.ndim not in (1, 2) or values.size < 2:
        return False
    if values.shape == (num_rows,) and all(isinstance(value, (str, bytes)) for value in values.tolist()):
        return 0 < (values[1:] != values[:-1]).sum() < num_rows - 1
    if values.dtype.kind not in "biuf":
        return False
    numbers = values.astype(float).ravel()
    if not np.equal(numbers, np.round(numbers)).all() or (numbers == numbers[0]).all():
        return False
    ascend = bool((np.diff(numbers) >= 0).all())
    if values.shape == (num_rows,):  # labels are the same in several rows
        changes = np.flatnonzero(np.diff(numbers))
        if np.isin(numbers, (0, 1)).all():  # one episode has a mark at its first row (`reset`) or last (`discount`)
            return changes.tolist() not in ([0], [num_rows - 2])
        return ascend and len(changes) < num_rows - 1
    are_rows = ascend and numbers.max() <= num_rows
    if values.dtype.kind == "f":  # or coordinates, as of a `start`
        are_rows &= numbers[0] == 0 or numbers[-1] == num_rows
    return numbers.min() >= 0 and (numbers.sum() == num_rows or are_rows)
