"""Windows of episodes for training and evaluation, with an order that survives interruption (LightningDataModule)."""

import math
from functools import cached_property
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from vjepa.data.episodes.formats.detection import EpisodeFormat, open_episodes
from vjepa.data.episodes.store import EpisodeStore, RecordedLimit
from vjepa.data.episodes.windows import WindowDataset, WindowOrder, Windows, as_it_is, long_enough
from vjepa.data.ordered_data_module import OrderedDataModule
from vjepa.data.randomness import Purpose, generator_for


class EpisodeDataModule(OrderedDataModule):
    """Windows of frames and actions; validation is on episodes of its own, in windows that don't overlap.

    The episodes for validation, and those for training in which order `episodes` takes them, are the same for every
    seed: runs with several seeds or amounts of data are scored on the same. An epoch is as many whole global batches as
    there are windows for.

    Args:
        root: folder or file with episodes (see `vjepa.data.episodes.formats.detection`).
        format: of what is there; "auto" looks.
        frame_step: raw steps from one frame of a window to the next; a block of actions holds so many.
        num_steps: blocks of a window, which has one frame more.
        global_batch_size: windows per batch over all ranks together.
        windows_per_episode: windows of a batch that are of one episode.
        resize: height and width to make of every frame; as stored if None.
        val_fraction: share of the episodes that is kept for validation; none with 0.
        seed: of the order.
        num_workers: reading processes per rank. Collections are fastest without any.
        episodes: train only on so many episodes, or on this share of them (if no whole number); all if None.
        frames_per_second: of a window, of recordings. Instead of `frame_step`, which is then the smallest step that
            gives no more than so many. DROID's videos are thinned out to it (to 4 if None).
        camera, action_key, state_key: names, where the usual ones or the first camera won't do.
        cache_gigabytes: memory for decoded frames, in each process that reads.
    """

    def __init__(
        self,
        root: str,
        format: EpisodeFormat = "auto",
        frame_step: int = 4,
        num_steps: int = 8,
        global_batch_size: int = 48,
        windows_per_episode: int = 1,
        resize: tuple[int, int] | None = None,
        val_fraction: float = 0.05,
        seed: int = 0,
        num_workers: int = 0,
        episodes: int | float | None = None,
        frames_per_second: float | None = None,
        camera: str | None = None,
        action_key: str | None = None,
        state_key: str | None = None,
        cache_gigabytes: float = 2.0,
    ):
        super().__init__()
        if not 0 <= val_fraction < 1:
            raise ValueError(f"val_fraction ({val_fraction}) must be at least 0 and less than 1")
        if isinstance(episodes, float) and episodes > 1 and episodes.is_integer():
            episodes = int(episodes)  # the command line may read 4 as 4.0
        if episodes is not None and not (episodes >= 1 if isinstance(episodes, int) else 0 < episodes <= 1):
            raise ValueError(
                f"episodes ({episodes}) must be a number of at least 1, or a share above 0.0 and up to 1.0"
            )
        if frames_per_second is not None and not frames_per_second > 0:
            raise ValueError(f"frames_per_second ({frames_per_second}) must be more than 0")
        self.root = root
        self.format = format
        self.given_frame_step = frame_step
        self.num_steps = num_steps
        self.global_batch_size = global_batch_size
        self.windows_per_episode = windows_per_episode
        self.resize = resize
        self.val_fraction = val_fraction
        self.seed = seed
        self.num_workers = num_workers
        self.episodes = episodes
        self.frames_per_second = frames_per_second
        self.camera = camera
        self.action_key = action_key
        self.state_key = state_key
        self.cache_gigabytes = cache_gigabytes
        self.check_batch_size()

    @cached_property
    def store(self) -> EpisodeStore:
        """The episodes, opened when they are first asked for."""
        return open_episodes(
            self.root,
            self.format,
            self.resize,
            self.camera,
            self.action_key,
            self.state_key,
            self.frames_per_second,
            self.cache_gigabytes,
        )

    @property
    def action_dim(self) -> int:
        """Numbers of a raw action; a block has `frame_step` times as many."""
        return self.store.action_dim

    @property
    def state_dim(self) -> int:
        return self.store.state_dim

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width."""
        return self.store.frame_size

    @property
    def action_limit(self) -> RecordedLimit | None:
        """The longest that actions were when the data were collected, where the data say it."""
        return self.store.action_limit

    @property
    def frame_step(self) -> int:
        if self.frames_per_second is None:
            return self.given_frame_step
        if self.store.fps is None:
            raise ValueError(
                f"frames_per_second ({self.frames_per_second}) needs recordings of one known rate, and those in "
                f"{self.root} have none; give frame_step"
            )
        return max(1, math.ceil(self.store.fps / self.frames_per_second - 1e-6))

    @cached_property
    def split(self) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the episodes for training and for validation, of those that hold a window."""
        is_long = long_enough(self.store, self.num_steps, self.frame_step)
        # With a seed of its own, so that it is the same in every run.
        shuffled = generator_for(0, Purpose.WINDOW).permutation(len(is_long))
        shuffled = shuffled[is_long[shuffled]]
        num_val = min(max(1, round(self.val_fraction * len(shuffled))), len(shuffled) - 1) if self.val_fraction else 0
        train, val = shuffled[num_val:], shuffled[:num_val]
        if self.episodes is not None:
            wanted = self.episodes if isinstance(self.episodes, int) else round(self.episodes * len(train))
            train = train[: max(1, wanted)]
        return np.sort(train), np.sort(val)

    @property
    def num_too_short(self) -> int:
        """Episodes that hold no window and are left out."""
        return int((~long_enough(self.store, self.num_steps, self.frame_step)).sum())

    def action_statistics(self) -> tuple[np.ndarray, np.ndarray]:  # (A,), (A,) float32
        """Mean and standard deviation of raw actions in training; 1 for a number that never changes."""
        train, _ = self.split
        lengths = self.store.lengths
        return _statistics([self.store.actions(e, 0, int(lengths[e])) for e in train.tolist()])

    def state_statistics(self) -> tuple[np.ndarray, np.ndarray]:  # (S,), (S,) float32
        """The same of states at the kept frames."""
        train, _ = self.split
        lengths, step = self.store.lengths, self.store.frame_interval
        return _statistics([self.store.states(e, np.arange(0, int(lengths[e]) + 1, step)) for e in train.tolist()])

    def setup(self, stage: str) -> None:
        """Find the windows. Raises ValueError where the data can't be used."""
        train, val = self.split
        window = (self.num_steps, self.frame_step)
        self.train_windows = Windows(self.store, train, *window)
        self.val_windows = Windows(self.store, val, *window, spacing=self.num_steps * self.frame_step)
        if stage in ("validate", "test", "predict") and not len(self.val_windows):
            raise ValueError("there are no episodes to validate on: give a val_fraction above 0")

    @property
    def group(self) -> tuple[str, int]:
        return "windows_per_episode", self.windows_per_episode

    @property
    def positions_per_batch(self) -> int:  # windows
        return self.global_batch_size

    @property
    def position_alignment(self) -> int:
        return self.windows_per_episode

    @property
    def batches_per_epoch(self) -> int:
        return max(1, len(self.train_windows) // self.global_batch_size)

    def train_dataloader(self) -> DataLoader[Any]:
        order = WindowOrder(self.train_windows, self.seed, self.windows_per_episode)
        return self.training_loader(self._dataset(order), as_it_is)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Every window once, shuffled, so that a few batches are a fair sample."""
        if not len(self.val_windows):
            return []
        dataset = self._dataset(WindowOrder(self.val_windows, seed=0))
        return self.evaluation_loader(dataset, as_it_is, len(self.val_windows), self.global_batch_size)

    def _dataset(self, order: WindowOrder) -> WindowDataset:
        return WindowDataset(self.store, order, self.num_steps, self.frame_step)


def _statistics(arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    rows = np.concatenate(arrays).astype(np.float64)
    std = rows.std(axis=0)
    return rows.mean(axis=0).astype(np.float32), np.where(std > 0, std, 1).astype(np.float32)
