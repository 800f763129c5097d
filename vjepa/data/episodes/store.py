"""Episodes to learn a world model from: frames, the actions that lead from one to the next, and maybe states.

Time counts in raw steps of the world or robot. An episode of L raw steps has L rows of actions, and frames at the times
0, k, 2k, ... up to L, where k is `frame_interval`: 1 for recordings, more for a collection of every k-th frame.
The action at time t leads from t to t + 1. A recording with one row of actions for each frame has L = frames - 1 steps:
its last action leads to a frame that nobody recorded, and is left off.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np

from vjepa.data.episodes.frames import FrameSource

ACTION_KEYS = ("action", "actions")
STATE_KEYS = ("state", "states", "observation.state", "proprio", "robot_states")


class RecordedLimit(NamedTuple):
    """How long actions were at most when they were collected; planning makes an ActionLimit of it."""

    size: float
    kind: Literal["norm", "box"]


@runtime_checkable
class EpisodeStore(Protocol):
    """Episodes by number. Methods that end in `_of` take many at once: that is how batches are made."""

    frame_interval: int  # raw steps between two kept frames
    action_dim: int
    state_dim: int  # 0 where states are not known
    frame_size: tuple[int, int]  # height, width
    fps: float | None  # raw steps per second; None where it is unknown or differs
    num_left_out: int  # episodes that could not be read
    action_limit: RecordedLimit | None  # None where it is not known

    @property
    def num_episodes(self) -> int: ...

    @property
    def lengths(self) -> np.ndarray: ...  # (E,) int64, raw steps

    def name(self, episode: int) -> str: ...

    def frames(self, episode: int, times: np.ndarray) -> np.ndarray: ...  # times (n,) -> (n, H, W, 3) uint8

    def actions(self, episode: int, start: int, stop: int) -> np.ndarray: ...  # (stop - start, A) float32

    def states(self, episode: int, times: np.ndarray) -> np.ndarray: ...  # times (n,) -> (n, S) float32

    def extrinsics(self, episode: int) -> np.ndarray | None: ...  # (X,) float32, of the camera

    def frames_of(self, episodes: np.ndarray, times: np.ndarray) -> np.ndarray: ...  # (B,), (B, n) -> (B, n, H, W, 3)

    def actions_of(self, episodes: np.ndarray, times: np.ndarray) -> np.ndarray: ...  # (B,), (B, n) -> (B, n, A)

    def states_of(self, episodes: np.ndarray, times: np.ndarray) -> np.ndarray: ...  # (B,), (B, n) -> (B, n, S)


@dataclass(frozen=True)
class Recording:
    """What a reader knows of an episode, beside its frames; one row of actions and states for each frame.

    Args:
        name: in messages.
        num_frames: T.
        actions: (T, A) or (T - 1, A), or without the last dimension where A is 1.
        states: (T, S), or (T,).
        extrinsics: (X,) of the camera.
    """

    name: str
    num_frames: int
    actions: np.ndarray
    states: np.ndarray | None = None
    extrinsics: np.ndarray | None = None


class Episodes:
    """An EpisodeStore: actions and states in one array each, frames from a source that knows where they are.

    Args:
        lengths: (E,) raw steps.
        actions: (R, A) float32, of all episodes one after another.
        states: (F, S) float32 at the kept frames, of all episodes one after another; S may be 0.
        source: of frames.
        frame_interval: raw steps between two kept frames.
        names: of episodes; their numbers if None.
        all_extrinsics: (E, X) float32 of the cameras; None if unknown.
        fps: raw steps per second.
        num_left_out: episodes that could not be read.
        action_limit: of the actions, where it is known.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        actions: np.ndarray,
        states: np.ndarray,
        source: FrameSource,
        frame_interval: int = 1,
        names: Sequence[str] | None = None,
        all_extrinsics: np.ndarray | None = None,
        fps: float | None = None,
        num_left_out: int = 0,
        action_limit: RecordedLimit | None = None,
    ):
        self.lengths = lengths
        self.frame_interval = frame_interval
        self.action_dim, self.state_dim = actions.shape[1], states.shape[1]
        self.frame_size = source.frame_size
        self.fps = fps
        self.num_left_out = num_left_out
        self.action_limit = action_limit
        self._actions, self._states = actions, states
        self._source = source
        self._names = names
        self._extrinsics = all_extrinsics
        self._first_action = starts_of(lengths)
        self._first_frame = starts_of(lengths // frame_interval + 1)

    @property
    def num_episodes(self) -> int:
        return len(self.lengths)

    def name(self, episode: int) -> str:
        return f"episode {episode}" if self._names is None else self._names[episode]

    def frames(
        self,
        episode: int,
        times: np.ndarray,  # (n,) raw steps, multiples of frame_interval
    ) -> np.ndarray:  # (n, H, W, 3) uint8
        return self.frames_of(np.array([episode]), np.asarray(times)[None])[0]

    def actions(self, episode: int, start: int, stop: int) -> np.ndarray:  # (stop - start, A) float32
        assert 0 <= start <= stop <= self.lengths[episode], "actions of another episode"
        first = self._first_action[episode]
        return np.array(self._actions[first + start : first + stop])

    def states(
        self,
        episode: int,
        times: np.ndarray,  # (n,) raw steps, multiples of frame_interval
    ) -> np.ndarray:  # (n, S) float32
        return self.states_of(np.array([episode]), np.asarray(times)[None])[0]

    def extrinsics(self, episode: int) -> np.ndarray | None:  # (X,) float32
        return None if self._extrinsics is None else self._extrinsics[episode]

    def frames_of(
        self,
        episodes: np.ndarray,  # (B,)
        times: np.ndarray,  # (B, n) raw steps, multiples of frame_interval
    ) -> np.ndarray:  # (B, n, H, W, 3) uint8
        return self._source.read(episodes, self._kept_frames(episodes, times))

    def actions_of(
        self,
        episodes: np.ndarray,  # (B,)
        times: np.ndarray,  # (B, n) raw steps
    ) -> np.ndarray:  # (B, n, A) float32
        assert (times >= 0).all() and (times < self.lengths[episodes][:, None]).all(), "actions of another episode"
        return self._actions[self._first_action[episodes][:, None] + times]

    def states_of(
        self,
        episodes: np.ndarray,  # (B,)
        times: np.ndarray,  # (B, n) raw steps, multiples of frame_interval
    ) -> np.ndarray:  # (B, n, S) float32
        return self._states[self._first_frame[episodes][:, None] + self._kept_frames(episodes, times)]

    def _kept_frames(self, episodes: np.ndarray, times: np.ndarray) -> np.ndarray:  # (B, n) numbers within the episode
        assert (times >= 0).all() and (times <= self.lengths[episodes][:, None]).all(), "frames of another episode"
        assert not (times % self.frame_interval).any(), "a frame that was not kept"
        return times // self.frame_interval


def episodes_of_recordings(
    recordings: Sequence[Recording],
    source: FrameSource,
    fps: float | None = None,
    num_left_out: int = 0,
) -> Episodes:
    """Recordings with a frame for every action. Raises ValueError where actions don't fit frames or each other."""
    actions = [_fitting_actions(recording) for recording in recordings]
    states = [_fitting_states(recording) for recording in recordings]
    names = [recording.name for recording in recordings]
    _check_widths("actions", names, actions)
    _check_widths("states", names, states)
    extrinsics = [recording.extrinsics for recording in recordings if recording.extrinsics is not None]
    return Episodes(
        lengths=np.array([len(rows) for rows in actions], np.int64),
        actions=np.concatenate(actions),
        states=np.concatenate(states),
        source=source,
        names=names,
        all_extrinsics=np.stack(extrinsics).astype(np.float32) if len(extrinsics) == len(recordings) else None,
        fps=fps,
        num_left_out=num_left_out,
    )


def _fitting_actions(recording: Recording) -> np.ndarray:  # (T - 1, A) float32
    actions = _as_rows(recording, "actions", recording.actions)
    if len(actions) not in (recording.num_frames, recording.num_frames - 1):
        raise ValueError(
            f"{recording.name} has {len(actions)} rows of actions for {recording.num_frames} frames; "
            "there must be as many as frames, or one less"
        )
    return _finite(recording, "actions", actions[: recording.num_frames - 1])


def _fitting_states(recording: Recording) -> np.ndarray:  # (T, S) float32
    if recording.states is None:
        return np.zeros((recording.num_frames, 0), np.float32)
    states = _as_rows(recording, "states", recording.states)
    if len(states) != recording.num_frames:
        raise ValueError(
            f"{recording.name} has {len(states)} rows of states for {recording.num_frames} frames; "
            "there must be as many as frames"
        )
    return _finite(recording, "states", states)


def _as_rows(recording: Recording, what: str, values: np.ndarray) -> np.ndarray:  # (T, A) float32
    values = np.asarray(values)
    if values.ndim not in (1, 2) or values.dtype.kind not in "fiub":
        raise ValueError(
            f"{what} of {recording.name} have shape {values.shape} and type {values.dtype}; "
            "they must be numbers, one row for each frame"
        )
    return np.ascontiguousarray(values.reshape(len(values), -1) if values.size else values[:, None], np.float32)


def _finite(recording: Recording, what: str, values: np.ndarray) -> np.ndarray:
    check_finite(values, lambda row: f"{what} of {recording.name} at row {row}")
    return values


def check_finite(values: np.ndarray, where: Any) -> None:
    """Raise ValueError, with the place that `where` makes of the first bad row, where a number is infinite or none."""
    are_finite = np.isfinite(values).all(axis=1)
    if not are_finite.all():
        row = int(np.argmin(are_finite))
        raise ValueError(f"{where(row)} are not finite ({values[row].tolist()}); leave that episode out or mend it")


def _check_widths(what: str, names: Sequence[str], arrays: Sequence[np.ndarray]) -> None:
    for name, array in zip(names, arrays, strict=True):
        if array.shape[1] != arrays[0].shape[1]:
            raise ValueError(
                f"{what} of {name} have {array.shape[1]} numbers and those of {names[0]} have {arrays[0].shape[1]}; "
                "all episodes must have as many"
            )


def starts_of(
    counts: np.ndarray,  # (E,)
) -> np.ndarray:  # (E,) int64, where each begins when they stand one after another
    return np.cumsum(counts, dtype=np.int64) - counts


def key_of(names: Sequence[str], asked: str | None, known: Sequence[str], what: str, where: str) -> str | None:
    """Which of the names holds something: the one asked for, else the first that is known; None if there is none.

    A name with slashes is also known by what follows the last one. Raises ValueError where the one asked for is absent.
    """
    for wanted in known if asked is None else [asked]:
        for name in names:
            if wanted in (name, name.rsplit("/", 1)[-1]):
                return name
    if asked is not None:
        raise ValueError(f"there are no {what} called '{asked}' in {where}; there is {', '.join(names) or 'nothing'}")
    return None


def needed_key(names: Sequence[str], asked: str | None, known: Sequence[str], what: str, where: str) -> str:
    """The same where there must be one, or ValueError is raised."""
    found = key_of(names, asked, known, what, where)
    if found is None:
        raise ValueError(
            f"no {what} in {where}: none of {', '.join(known)} is there, but {', '.join(names) or 'nothing'}; "
            "say which it is"
        )
    return found
