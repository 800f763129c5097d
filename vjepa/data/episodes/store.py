"""Episodes to learn a world model from: frames, the actions between them, and states where they are known.

Time counts raw steps of the world or robot. An episode of L raw steps has L rows of actions, and frames at the times
0, k, 2k, ... up to L, where k is `frame_interval`: 1 for recordings, more for a collection of every k-th frame. The
action at time t leads from t to t + 1. A recording with one action per frame has L = frames - 1 steps: its last action
leads to a frame that was not recorded, and is dropped.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Float32, Int, Int64, UInt8

from vjepa.data.episodes.frames import FrameSource
from vjepa.planning.limits import ActionLimit


class EpisodeStore:
    """Episodes by index. Methods take one episode, or a batch of episodes with a row of times for each.

    Args:
        lengths: raw steps of each episode.
        actions: of all episodes, concatenated.
        states: at the stored frames of all episodes, concatenated; S may be 0.
        source: of frames.
        frame_interval: raw steps between stored frames.
        names: of episodes; their indices if None.
        extrinsics: of each episode's camera; unknown if None.
        fps: raw steps per second; None if unknown or not the same for all episodes.
        num_skipped: episodes that were left out, as they can't be read or have no rows.
        action_limit: of the actions, if known.
    """

    def __init__(
        self,
        lengths: Int64[np.ndarray, " E"],
        actions: Float32[np.ndarray, "R A"],
        states: Float32[np.ndarray, "F S"],
        source: FrameSource,
        frame_interval: int = 1,
        names: Sequence[str] | None = None,
        extrinsics: Float32[np.ndarray, "E X"] | None = None,
        fps: float | None = None,
        num_skipped: int = 0,
        action_limit: ActionLimit | None = None,
    ):
        self.lengths = lengths
        self.num_episodes = len(lengths)
        self.frame_interval = frame_interval
        self.action_dim, self.state_dim = actions.shape[1], states.shape[1]
        self.frame_size = source.frame_size
        self.extrinsics = np.zeros((len(lengths), 0), np.float32) if extrinsics is None else extrinsics
        self.fps = fps
        self.num_skipped = num_skipped
        self.action_limit = action_limit
        self._actions, self._states = actions, states
        self._source = source
        self._names = names
        self._first_actions = offsets(lengths)
        self._first_frames = offsets(lengths // frame_interval + 1)

    def name(self, episode: int) -> str:
        return f"episode {episode}" if self._names is None else self._names[episode]

    def frames(
        self, episodes: int | Int64[np.ndarray, "*batch"], times: Int64[np.ndarray, "*batch n"]
    ) -> UInt8[np.ndarray, "*batch n H W 3"]:
        """Frames at times that are multiples of `frame_interval`."""
        return self._source.read(np.asarray(episodes), self._frame_ids(episodes, times))

    def states(
        self, episodes: int | Int64[np.ndarray, "*batch"], times: Int64[np.ndarray, "*batch n"]
    ) -> Float32[np.ndarray, "*batch n S"]:
        """States at times that are multiples of `frame_interval`."""
        return self._states[self._first_frames[episodes][..., None] + self._frame_ids(episodes, times)]

    def actions(
        self,
        episodes: int | Int64[np.ndarray, "*batch"],
        starts: int | Int64[np.ndarray, "*batch"],
        stops: int | Int64[np.ndarray, "*batch"],
    ) -> Float32[np.ndarray, "*batch n A"]:
        """Actions from `starts` up to `stops`, of as many steps in every episode."""
        [steps] = np.unique(np.subtract(stops, starts))
        times = np.asarray(starts)[..., None] + np.arange(steps)
        assert (times >= 0).all() and (stops <= self.lengths[episodes]).all(), "actions of another episode"
        return self._actions[self._first_actions[episodes][..., None] + times]

    def _frame_ids(self, episodes: int | np.ndarray, times: np.ndarray) -> np.ndarray:
        assert (times >= 0).all() and (times <= self.lengths[episodes][..., None]).all(), "frames of another episode"
        assert not (times % self.frame_interval).any(), "a frame that is not stored"
        return times // self.frame_interval


def offsets(counts: Int[np.ndarray, " E"]) -> Int64[np.ndarray, " E"]:
    """Index of the first row of each part where parts of so many rows are concatenated."""
    return np.cumsum(counts, dtype=np.int64) - counts


def check_finite(values: Float[np.ndarray, "n D"], where: Callable[[int], str]) -> None:
    """Raise ValueError where a value is infinite or NaN; `where` names its row."""
    are_finite = np.isfinite(values).all(axis=1)
    if not are_finite.all():
        row = int(np.argmin(are_finite))
        raise ValueError(f"{where(row)} are not finite ({values[row].tolist()}); leave that episode out or mend it")
