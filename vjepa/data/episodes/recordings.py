"""Recorded episodes: what the readers of all formats return, how it is checked, and the names that they look for."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float32

from vjepa.data.episodes.boundaries import episode_spans, is_suspect, kind_of
from vjepa.data.episodes.frames import LazySource, StoredFrames
from vjepa.data.episodes.store import EpisodeStore, check_finite

# Names of arrays in files, the usual ones first.
FRAME_KEYS = ("images", "image", "frames", "pixels", "video", "observations")
ACTION_KEYS = ("action", "actions")
STATE_KEYS = ("state", "states", "observation.state", "proprio", "robot_states")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReadOptions:
    """How episodes are read; see `open_episodes`."""

    resize: tuple[int, int] | None = None
    camera: str | None = None
    action_key: str | None = None
    state_key: str | None = None
    frames_per_second: float | None = None
    cache_gigabytes: float = 2.0


@dataclass(frozen=True)
class Recording:
    """A recorded episode, with one row of actions and states per frame; or several, which `boundaries` tell apart.

    The last action may be absent. Arrays of one dimension hold one number per frame.
    """

    name: str  # in messages
    frames: StoredFrames
    actions: np.ndarray
    states: np.ndarray | None = None
    extrinsics: Float[np.ndarray, " X"] | None = None  # of the camera
    boundaries: Mapping[str, np.ndarray] = field(
        default_factory=dict
    )  # arrays that may state where episodes begin, by name

    def episodes(self) -> list["Recording"]:
        """Its episodes that have rows. Raises ValueError where `boundaries` or numbers of rows can't be understood."""
        num_frames = self.frames.num_frames
        spans = episode_spans(self.boundaries, num_frames, self.name)
        if spans == [(0, num_frames)]:
            return [self]
        for what, rows, least in (("actions", self.actions, num_frames - 1), ("states", self.states, num_frames)):
            if rows is not None and len(rows) not in (least, num_frames):
                raise ValueError(
                    f"{self.name} has {len(rows)} rows of {what} for {num_frames} frames of {len(spans)} episodes; "
                    "there must be as many as frames"
                )
        num_outside = num_frames - sum(stop - start for start, stop in spans)
        if num_outside:
            log.warning("%d rows of %s belong to no episode and are left out", num_outside, self.name)
        return [
            replace(
                self,
                name=f"{self.name} episode {number}",
                frames=self.frames.part(slice(start, stop)),
                actions=self.actions[start:stop],
                states=None if self.states is None else self.states[start:stop],
                boundaries={},
            )
            for number, (start, stop) in enumerate(spans)
        ]


def store_recordings(
    recordings: Sequence[Recording],
    options: ReadOptions,
    fps: float | None = None,
    num_skipped: int = 0,
) -> EpisodeStore:
    """The store of these recordings, whose frames are read when needed. Episodes without frames are left out.

    Raises:
        ValueError: actions or states do not fit frames, or episodes do not fit each other.
    """
    episodes = [episode for recording in recordings for episode in recording.episodes()]
    recordings = [episode for episode in episodes if episode.frames.num_frames]
    if not recordings:
        raise ValueError(f"none of {len(episodes)} episodes of {episodes[0].name} has frames")
    empty = [episode.name for episode in episodes if not episode.frames.num_frames]
    if num_skipped:
        total = num_skipped + len(episodes)
        log.warning("%d of %d episodes are left out: files can't be read or don't fit each other", num_skipped, total)
    if empty:
        log.warning("%d of %d episodes have no rows and are left out, such as %s", len(empty), len(episodes), empty[0])
    num_skipped += len(empty)
    _check_frame_sizes(recordings, options.resize)
    actions = [_rows(recording, "actions") for recording in recordings]
    states = [_rows(recording, "states") for recording in recordings]
    for what, arrays in (("actions", actions), ("states", states)):
        for recording, array in zip(recordings, arrays, strict=True):
            if array.shape[1] != arrays[0].shape[1]:
                raise ValueError(
                    f"{what} of {recording.name} have {array.shape[1]} numbers and those of {recordings[0].name} have "
                    f"{arrays[0].shape[1]}; all episodes must have as many"
                )
    extrinsics = [recording.extrinsics for recording in recordings if recording.extrinsics is not None]
    return EpisodeStore(
        lengths=np.array([len(rows) for rows in actions], np.int64),
        actions=np.concatenate(actions),
        states=np.concatenate(states),
        source=LazySource([each.frames for each in recordings], options.resize, options.cache_gigabytes),
        names=[recording.name for recording in recordings],
        extrinsics=np.stack(extrinsics).astype(np.float32) if len(extrinsics) == len(recordings) else None,
        fps=fps,
        num_skipped=num_skipped,
    )


def _check_frame_sizes(recordings: Sequence[Recording], resize: tuple[int, int] | None) -> None:
    height, width = recordings[0].frames.size
    for recording in recordings:
        if resize is None and recording.frames.size != (height, width):
            raise ValueError(
                f"frames of {recording.name} are {recording.frames.size[1]}x{recording.frames.size[0]} and those of "
                f"{recordings[0].name} {width}x{height}; give `resize`, the height and width that all are to have"
            )


def _rows(recording: Recording, what: Literal["actions", "states"]) -> Float32[np.ndarray, "n D"]:
    num_frames = recording.frames.num_frames
    given = recording.actions if what == "actions" else recording.states
    values = np.zeros((num_frames, 0)) if given is None else np.asarray(given)
    if values.ndim not in (1, 2) or values.dtype.kind not in "fiub":
        raise ValueError(
            f"{what} of {recording.name} have shape {values.shape} and type {values.dtype}; "
            "they must be numbers, one row for each frame"
        )
    needed = num_frames - (what == "actions")
    if len(values) not in (needed, num_frames):
        raise ValueError(
            f"{recording.name} has {len(values)} rows of {what} for {num_frames} frames; there must be as many as "
            f"frames{', or one less' if what == 'actions' else ''}"
        )
    rows = np.ascontiguousarray(values if values.ndim == 2 else values[:, None], np.float32)[:needed]
    check_finite(rows, lambda row: f"{what} of {recording.name} at row {row}")
    return rows


def find_key(names: Sequence[str], requested: str | None, usual: Sequence[str], what: str, where: str) -> str | None:
    """The requested name, else the first usual one; None if there is none.

    A name with slashes is also found by its last part. Raises ValueError if the requested one is absent.
    """
    for key in usual if requested is None else [requested]:
        for name in names:
            if key in (name, name.rsplit("/", 1)[-1]):
                return name
    if requested is None:
        return None
    raise ValueError(f"there are no {what} called '{requested}' in {where}; there is {', '.join(names) or 'nothing'}")


def boundary_arrays(arrays: Mapping[str, Any], used: Collection[str | None]) -> dict[str, np.ndarray]:
    """Those of a file's arrays that may state where episodes begin, without those that are used otherwise."""
    found = {}
    for name in arrays:
        kind = kind_of(name)
        if name in used or not (kind or is_suspect(name)):
            continue
        try:
            array = arrays[name]
        except ValueError:  # it can't be read
            if kind is None:
                continue
            raise
        if len(array.shape) <= 3:
            found[name] = np.asarray(array[()])
    return found


def action_and_state_keys(
    names: Sequence[str], options: ReadOptions, where: str, usual_states: Sequence[str] = STATE_KEYS
) -> tuple[str, str | None]:
    """Names of the arrays of actions and of states, which may be absent."""
    actions = require_key(names, options.action_key, ACTION_KEYS, "actions", where)
    return actions, find_key(names, options.state_key, usual_states, "states", where)


def require_key(names: Sequence[str], requested: str | None, usual: Sequence[str], what: str, where: str) -> str:
    """As `find_key`. Raises ValueError if there is none."""
    found = find_key(names, requested, usual, what, where)
    if found is None:
        raise ValueError(
            f"no {what} in {where}: none of {', '.join(usual)} is there, but {', '.join(names) or 'nothing'}; "
            "give its name (camera or action_key)"
        )
    return found
