"""Windows of episodes for training and evaluation, as a LightningDataModule."""

import math
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int64
from torch.utils.data import DataLoader

from vjepa.data.episodes.formats.detection import EpisodeFormat, open_episodes
from vjepa.data.episodes.recordings import ReadOptions
from vjepa.data.episodes.store import EpisodeStore
from vjepa.data.episodes.training_episodes import TrainingEpisodes
from vjepa.data.episodes.windows import WindowDataset, WindowOrder, Windows, identity, long_enough
from vjepa.data.ordered_data_module import OrderedDataModule
from vjepa.data.randomness import Purpose, generator_for
from vjepa.planning.limits import ActionLimit


class EpisodeDataModule(OrderedDataModule):
    """Windows of frames and actions; validation has its own episodes, in windows that do not overlap.

    The validation episodes, and the order in which `episodes` selects training episodes, are the same for every seed:
    runs with other seeds or amounts of data are comparable. An epoch has as many whole global batches as there are
    windows for.

    Args:
        root: folder or file of episodes.
        format: "auto" detects it (see `vjepa.data.episodes.formats.detection`).
        frame_step: raw steps between the frames of a window, the length of an action chunk.
        num_steps: action chunks of a window, which has one frame more.
        global_batch_size: windows per batch over all ranks.
        windows_per_episode: windows of one episode in a batch.
        resize: height and width of every frame; as stored if None.
        val_fraction: fraction of the episodes for validation; none with 0.
        seed: of the order.
        num_workers: reading processes per rank. Collections are fastest without any.
        episodes: number of training episodes, or a fraction of them (0 to 1); all if None.
        frames_per_second: maximum rate of the frames of a window, for recordings, instead of `frame_step`. DROID's
            videos are subsampled to it (to 4 if None).
        camera, action_key, state_key: names, if not the first camera or the usual keys.
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
                f"episodes ({episodes}) must be a number of at least 1, or a fraction above 0.0 and up to 1.0"
            )
        if frames_per_second is not None and not frames_per_second > 0:
            raise ValueError(f"frames_per_second ({frames_per_second}) must be more than 0")
        self.root = root
        self.format = format
        self.given_frame_step = frame_step
        self.num_steps = num_steps
        self.global_batch_size = global_batch_size
        self.windows_per_episode = windows_per_episode
        self.val_fraction = val_fraction
        self.seed = seed
        self.num_workers = num_workers
        self.episodes = episodes
        self.options = ReadOptions(resize, camera, action_key, state_key, frames_per_second, cache_gigabytes)
        self.check_batch_size()

    @cached_property
    def store(self) -> EpisodeStore:
        """The episodes, opened on first use."""
        return open_episodes(self.root, self.format, **vars(self.options))

    @property
    def action_dim(self) -> int:
        """Numbers of a raw action; a chunk has `frame_step` times as many."""
        return self.store.action_dim

    @property
    def state_dim(self) -> int:
        return self.store.state_dim

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width."""
        return self.store.frame_size

    @property
    def action_limit(self) -> ActionLimit | None:
        """The limit of actions when the data were collected, if recorded."""
        return self.store.action_limit

    @property
    def frame_step(self) -> int:
        rate = self.options.frames_per_second
        if rate is None:
            return self.given_frame_step
        if self.store.fps is None:
            raise ValueError(
                f"frames_per_second ({rate}) needs recordings of one known rate, and those in "
                f"{self.root} have none; give frame_step"
            )
        return max(1, math.ceil(self.store.fps / rate - 1e-6))

    @cached_property
    def split(self) -> tuple[Int64[np.ndarray, " train"], Int64[np.ndarray, " val"]]:
        """Indices of the training and validation episodes, of those that hold a window."""
        is_long = long_enough(self.store, self.num_steps, self.frame_step)
        # With a fixed seed, so that it is the same in every run.
        shuffled = generator_for(0, Purpose.WINDOW).permutation(len(is_long))
        shuffled = shuffled[is_long[shuffled]]
        num_val = min(max(1, round(self.val_fraction * len(shuffled))), len(shuffled) - 1) if self.val_fraction else 0
        train, val = shuffled[num_val:], shuffled[:num_val]
        if self.episodes is not None:
            num_train = self.episodes if isinstance(self.episodes, int) else round(self.episodes * len(train))
            train = train[: max(1, num_train)]
        return np.sort(train), np.sort(val)

    @property
    def training_episodes(self) -> TrainingEpisodes:
        return TrainingEpisodes(self.store, self.split[0])

    def setup(self, stage: str) -> None:
        """Find the windows. Raises ValueError if the data are not usable."""
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
        return self.training_loader(self._dataset(order), identity)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Every window once, shuffled: a few batches are a fair sample."""
        if not len(self.val_windows):
            return []
        dataset = self._dataset(WindowOrder(self.val_windows, seed=0))
        return self.evaluation_loader(dataset, identity, len(self.val_windows), self.global_batch_size)

    def _dataset(self, order: WindowOrder) -> WindowDataset:
        return WindowDataset(self.store, order, self.num_steps, self.frame_step)
