"""The episodes that a world model is trained on, as its data module hands them over."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from vjepa.data.episodes.store import EpisodeStore
from vjepa.data.video.facts import VideoError


class TrainingEpisodes(NamedTuple):
    """Some episodes of a store, by their numbers."""

    store: EpisodeStore
    numbers: Int64[np.ndarray, " n"]

    def frames(self, number: int, times: Int64[np.ndarray, " n"]) -> UInt8[np.ndarray, "n H W 3"]:
        """Frames of an episode. Raises ValueError where they can't be read."""
        try:
            return self.store.frames(number, times)
        except (VideoError, OSError) as error:
            raise ValueError(f"frames of {self.store.name(number)} can't be read: {error}; leave it out") from None

    def action_statistics(self) -> tuple[Float32[np.ndarray, " A"], Float32[np.ndarray, " A"]]:
        """Mean and standard deviation of raw actions; 1 for a number that never changes."""
        lengths = self.store.lengths
        actions = [self.store.actions(number, 0, int(lengths[number])) for number in self.numbers.tolist()]
        rows = np.concatenate(actions).astype(np.float64)
        std = rows.std(axis=0)
        return rows.mean(axis=0).astype(np.float32), np.where(std > 0, std, 1).astype(np.float32)

    def sample_frames(self, episodes: int = 256) -> UInt8[np.ndarray, "M H W 3"]:
        """First and middle frames of so many episodes, spread evenly over them."""
        step = self.store.frame_interval
        chosen = self.numbers[np.unique(np.linspace(0, len(self.numbers) - 1, episodes).astype(int))]
        times = [np.array([0, length // (2 * step) * step]) for length in self.store.lengths[chosen].tolist()]
        return np.concatenate([self.frames(*each) for each in zip(chosen.tolist(), times, strict=True)])
