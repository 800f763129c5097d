"""Episodes of real robots and human drivers, where they are at hand: `VJEPA_SHARED_DATA`, or `../shared/data`."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from vjepa.data.episodes.data_module import EpisodeDataModule
from vjepa.data.episodes.formats.detection import open_episodes

SHARED_DATA = Path(os.environ.get("VJEPA_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))


def shared(name: str) -> Path:
    if not (SHARED_DATA / name).is_dir():
        pytest.skip(f"no {name} in {SHARED_DATA}; set VJEPA_SHARED_DATA to a folder that has it")
    return SHARED_DATA / name


@pytest.mark.parametrize(
    ("name", "num_episodes", "action_dim", "state_dim", "fps", "frame_step"),
    [("g1_robot", 70, 26, 26, 30.0, 6), ("sim_driving", 15, 4, 0, 14.0, 3)],
)
def test_recorded_episodes(name, num_episodes, action_dim, state_dim, fps, frame_step):
    data = EpisodeDataModule(
        str(shared(name)), frames_per_second=5.0, num_steps=3, global_batch_size=4, resize=(64, 64), cache_gigabytes=0.0
    )
    data.setup("fit")
    assert (data.store.num_episodes, data.action_dim, data.state_dim) == (num_episodes, action_dim, state_dim)
    assert (data.store.fps, data.frame_step, data.store.num_skipped) == (fps, frame_step, 0)
    batch = next(iter(data.train_dataloader()))
    assert batch.frames.shape == (4, 4, 3, 64, 64)
    assert batch.actions.shape == (4, 3, frame_step * action_dim) and batch.states.shape == (4, 4, state_dim)
    frames = batch.frames.float()
    assert frames.std() > 5, "blank frames"
    assert (frames[:, 1:] != frames[:, :-1]).flatten(2).any(dim=2).any(), "frozen frames"
    assert all(torch.isfinite(part).all() for part in (batch.actions, batch.states))
    mean, std = data.training_episodes.action_statistics()
    assert np.isfinite(mean).all() and (std > 0).all()


def test_robot_snippets_in_one_npz_file():
    store = open_episodes(shared("bridge_tiny"))
    assert (store.num_episodes, store.action_dim, store.state_dim, store.frame_size) == (25, 7, 7, (64, 64))
    assert set(store.lengths.tolist()) == {9}
    data = EpisodeDataModule(str(shared("bridge_tiny")), frame_step=3, num_steps=3, global_batch_size=4)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch.frames.shape == (4, 4, 3, 64, 64) and batch.actions.shape == (4, 3, 21)
    assert (batch.starts == 0).all()  # nine steps hold one such window


def test_the_hand_goes_where_actions_send_it():
    """The action at time t leads on from frame t: the change of state after it shows it, more than the one before."""
    store = open_episodes(shared("bridge_tiny"))
    changes = np.stack([np.diff(store.states(e, np.arange(10))[:, :3], axis=0) for e in range(25)])
    actions = np.stack([store.actions(e, 0, 9)[:, :3] for e in range(25)])
    after, before = (
        np.corrcoef(actions[:, 1:].ravel(), moved.ravel())[0, 1] for moved in (changes[:, 1:], changes[:, :-1])
    )
    assert after > 0.8 and after > before + 0.1
