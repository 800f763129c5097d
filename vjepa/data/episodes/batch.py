"""A batch for a world model: windows of frames, and the actions between them."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from vjepa.data.episodes.store import EpisodeStore


class EpisodeBatch(NamedTuple):
    """Windows of K + 1 frames; action chunk k leads from frame k to frame k + 1."""

    frames: UInt8[Tensor, "B K+1 3 H W"]  # channels last in memory
    actions: Float32[Tensor, "B K frame_step*A"]  # in the data's own units, raw step by raw step
    states: Float32[Tensor, "B K+1 S"]  # S may be 0
    extrinsics: Float32[Tensor, "B X"]  # of the camera; X may be 0
    episodes: Int64[Tensor, " B"]
    starts: Int64[Tensor, " B"]  # raw steps into the episode
    positions: Int64[Tensor, " B"]  # in the order of the run


def gather_windows(
    store: EpisodeStore,
    episodes: Int64[np.ndarray, " B"],
    starts: Int64[np.ndarray, " B"],
    num_steps: int,
    frame_step: int,
    positions: Int64[np.ndarray, " B"] | None = None,
) -> EpisodeBatch:
    """Read windows of `num_steps` action chunks. Raises VideoError or OSError where frames can't be read."""
    times = starts[:, None] + frame_step * np.arange(num_steps + 1)
    actions = store.actions(episodes, starts, starts + num_steps * frame_step)
    return EpisodeBatch(
        # A view: copying to channels first would cost more than reading, and networks take channels last as they are.
        frames=torch.from_numpy(store.frames(episodes, times)).permute(0, 1, 4, 2, 3),
        actions=torch.from_numpy(actions).reshape(len(episodes), num_steps, frame_step * store.action_dim),
        states=torch.from_numpy(store.states(episodes, times)),
        extrinsics=torch.from_numpy(store.extrinsics[episodes]),
        episodes=torch.from_numpy(episodes),
        starts=torch.from_numpy(starts),
        positions=torch.from_numpy(np.arange(len(episodes)) if positions is None else positions),
    )
