"""What a batch for a world model is: windows of frames, and the actions that lead through them."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vjepa.data.episodes.store import EpisodeStore


class EpisodeBatch(NamedTuple):
    """Windows of K + 1 frames; block k of the actions leads from frame k to frame k + 1."""

    frames: Tensor  # (B, K + 1, 3, H, W) uint8, channels last in memory
    actions: Tensor  # (B, K, frame_step * A) float32, in the data's own units, raw step by raw step
    states: Tensor  # (B, K + 1, S) float32; S may be 0
    extrinsics: Tensor  # (B, X) float32, of the camera; X may be 0
    episodes: Tensor  # (B,) int64
    starts: Tensor  # (B,) int64, raw steps into the episode
    positions: Tensor  # (B,) int64: place in the run's endless sequence of windows


def gather_windows(
    store: EpisodeStore,
    episodes: np.ndarray,  # (B,) int64
    starts: np.ndarray,  # (B,) int64
    num_steps: int,
    frame_step: int,
    positions: np.ndarray | None = None,  # (B,) int64
) -> EpisodeBatch:
    """Read windows of `num_steps` blocks. Raises VideoError or OSError where frames can't be read."""
    times = starts[:, None] + frame_step * np.arange(num_steps + 1)
    raw_times = starts[:, None] + np.arange(num_steps * frame_step)
    actions = store.actions_of(episodes, raw_times)
    extrinsics = [store.extrinsics(episode) for episode in episodes.tolist()]
    return EpisodeBatch(
        # A view: taking the channels apart would cost more than reading the frames, and networks take them as they are.
        frames=torch.from_numpy(store.frames_of(episodes, times)).permute(0, 1, 4, 2, 3),
        actions=torch.from_numpy(actions).reshape(len(episodes), num_steps, frame_step * store.action_dim),
        states=torch.from_numpy(store.states_of(episodes, times)),
        extrinsics=torch.from_numpy(np.stack([np.zeros(0, np.float32) if e is None else e for e in extrinsics])),
        episodes=torch.from_numpy(episodes),
        starts=torch.from_numpy(starts),
        positions=torch.from_numpy(np.arange(len(episodes)) if positions is None else positions),
    )
