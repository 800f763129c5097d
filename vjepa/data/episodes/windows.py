"""The windows of episodes, their order, and the dataset that reads them in batches.

A window of K action chunks covers K * frame_step raw steps and K + 1 frames of one episode; it can start at any stored
frame. The window at a position of the run is arithmetic, as in `vjepa.data.order`.
"""

import logging

import numpy as np
from jaxtyping import Bool, Int64
from torch.utils.data import Dataset

from vjepa.data.episodes.batch import EpisodeBatch, gather_windows
from vjepa.data.episodes.store import EpisodeStore
from vjepa.data.order import RowOrder, SampleKey
from vjepa.data.randomness import Purpose, generator_for
from vjepa.data.video.facts import VideoError

ATTEMPTS = 16  # windows that are tried for one position of a batch

log = logging.getLogger(__name__)


class Windows:
    """All windows of some episodes, by index.

    Args:
        store: of the episodes.
        episodes: indices of those to use; those shorter than a window have none.
        num_steps: action chunks of a window.
        frame_step: raw steps of a chunk.
        spacing: raw steps from one start to the next; every stored frame if None.
    """

    def __init__(
        self,
        store: EpisodeStore,
        episodes: Int64[np.ndarray, " E"],
        num_steps: int,
        frame_step: int,
        spacing: int | None = None,
    ):
        self.spacing = spacing or store.frame_interval
        lengths = store.lengths[episodes]
        starts = (lengths - num_steps * frame_step) // self.spacing + 1
        is_long = starts > 0
        self.episodes = episodes[is_long]  # (n,) int64
        self.counts = starts[is_long]  # (n,) int64, windows of each
        self._ends = np.cumsum(self.counts)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def at(self, indices: Int64[np.ndarray, " B"]) -> tuple[Int64[np.ndarray, " B"], Int64[np.ndarray, " B"]]:
        """Episodes, and starts in raw steps."""
        rows = np.searchsorted(self._ends, indices, side="right")
        return self.episodes[rows], (indices - self._ends[rows] + self.counts[rows]) * self.spacing

    def first_index(self, row: int) -> int:
        """Index of the first window of the row-th episode."""
        return int(self._ends[row] - self.counts[row])


def long_enough(store: EpisodeStore, num_steps: int, frame_step: int) -> Bool[np.ndarray, " E"]:
    """Which episodes hold a window. Raises ValueError if none does, or if frames are not stored at its steps."""
    for name, value in {"num_steps": num_steps, "frame_step": frame_step}.items():
        if value < 1:
            raise ValueError(f"{name} ({value}) must be at least 1")
    if frame_step % store.frame_interval:
        multiple = -(-frame_step // store.frame_interval) * store.frame_interval
        raise ValueError(
            f"frame_step ({frame_step}) must be a multiple of the {store.frame_interval} raw steps between stored "
            f"frames; try {multiple}"
        )
    needed = num_steps * frame_step
    is_long = store.lengths >= needed
    if not is_long.any():
        raise ValueError(
            f"all {len(is_long)} episodes are too short for a window of num_steps * frame_step = {needed} raw steps, "
            f"the longest has {int(store.lengths.max())}; try a smaller num_steps or frame_step"
        )
    return is_long


class WindowOrder:
    """The window at each position.

    With one window per episode all windows are shuffled together, and each pass has every one once. With more, each
    pass has every episode once, with `windows_per_episode` of its windows in a row, at different starts (repeated only
    where an episode has fewer).
    """

    def __init__(self, windows: Windows, seed: int, windows_per_episode: int = 1):
        self.windows = windows
        self.seed = seed
        self.windows_per_episode = windows_per_episode
        self.order = RowOrder(len(windows) if windows_per_episode == 1 else len(windows.episodes), seed)

    def windows_at(self, positions: Int64[np.ndarray, " B"]) -> tuple[Int64[np.ndarray, " B"], Int64[np.ndarray, " B"]]:
        """Episodes and starts."""
        if self.windows_per_episode == 1:
            return self.windows.at(np.array([self.order.row(position) for position in positions.tolist()]))
        groups, which = np.divmod(positions, self.windows_per_episode)
        drawn = {group: self._group_windows(group) for group in np.unique(groups).tolist()}
        indices = [drawn[group][member] for group, member in zip(groups.tolist(), which.tolist(), strict=True)]
        return self.windows.at(np.array(indices))

    def replacement(self, position: int, attempt: int) -> tuple[int, int]:
        """Episode and start of the window to try after so many that could not be read."""
        generator = generator_for(self.seed, Purpose.REPLACEMENT, position, attempt)
        [episode], [start] = self.windows.at(generator.integers(len(self.windows), size=1))
        return int(episode), int(start)

    def _group_windows(self, group: int) -> np.ndarray:
        row = self.order.row(group)
        count = int(self.windows.counts[row])
        different = min(count, self.windows_per_episode)
        starts = generator_for(self.seed, Purpose.WINDOW, group).choice(count, different, replace=False)
        return self.windows.first_index(row) + np.resize(starts, self.windows_per_episode)


class WindowDataset(Dataset[EpisodeBatch]):
    """Windows in batches: a list of positions in, an EpisodeBatch out.

    A window that can't be read is replaced by one that depends on (seed, position), and the reason is logged.
    """

    def __init__(self, store: EpisodeStore, order: WindowOrder, num_steps: int, frame_step: int):
        self.store = store
        self.order = order
        self.num_steps = num_steps
        self.frame_step = frame_step

    def __getitems__(self, keys: list[SampleKey]) -> EpisodeBatch:
        positions = np.array([key.position for key in keys], np.int64)
        episodes, starts = self.order.windows_at(positions)
        try:
            return self._read(episodes, starts, positions)
        except (VideoError, OSError):
            windows = zip(positions.tolist(), episodes.tolist(), starts.tolist(), strict=True)
            episodes, starts = np.array([self._readable(*window) for window in windows]).T
            return self._read(episodes, starts, positions)

    def _readable(self, position: int, episode: int, start: int) -> tuple[int, int]:
        reason = ""
        for attempt in range(ATTEMPTS):
            try:
                self.store.frames(episode, start + self.frame_step * np.arange(self.num_steps + 1))
                return episode, start
            except (VideoError, OSError) as error:
                reason = f"{self.store.name(episode)} at step {start}: {error}"
                log.warning("a window can't be read and is replaced: %s", reason)
                episode, start = self.order.replacement(position, attempt)
        raise ValueError(f"{ATTEMPTS} windows in a row can't be read, the last is {reason}")

    def _read(self, episodes: np.ndarray, starts: np.ndarray, positions: np.ndarray) -> EpisodeBatch:
        return gather_windows(self.store, episodes, starts, self.num_steps, self.frame_step, positions)


def identity(batch: EpisodeBatch) -> EpisodeBatch:
    """The collate function of a dataset that returns whole batches."""
    return batch
