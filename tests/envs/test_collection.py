"""Collecting: what is written is what happened, the same every time."""

from pathlib import Path

import numpy as np
import pytest

from vjepa.data.episodes.collection import Collection
from vjepa.envs.behaviour import Wander
from vjepa.envs.collection import Collected, collect
from vjepa.envs.two_rooms import LARGEST_MOVE, TwoRooms, is_held_out, render


def collected_in(folder: Path, episodes_per_batch: int = 250, **settings) -> Collection:
    settings = {"episodes": 6, "steps": 20, "frame_interval": 4, **settings}
    collect(TwoRooms("random"), Wander(), folder, episodes_per_batch=episodes_per_batch, **settings)
    return Collection(folder)


def test_batches_and_repetition_change_nothing(tmp_path):
    first, again = collected_in(tmp_path / "a"), collected_in(tmp_path / "b", episodes_per_batch=4)
    for episode in range(6):
        times = np.arange(0, 21, 4)
        np.testing.assert_array_equal(first.frames(episode, times), again.frames(episode, times))
        np.testing.assert_array_equal(first.actions(episode, 0, 20), again.actions(episode, 0, 20))
    other = collected_in(tmp_path / "c", seed=1)
    assert not np.array_equal(other.actions(0, 0, 20), first.actions(0, 0, 20))


def test_actions_lead_from_frame_to_frame_and_layouts_are_those_for_training(tmp_path):
    written = collected_in(tmp_path / "rooms")
    suite = TwoRooms("random")
    tasks = suite.tasks(6, 0, "train")
    assert not any(is_held_out(layout) for layout in tasks.layouts)
    assert len(np.unique(tasks.layouts, axis=0)) == 6
    world = suite.begin(tasks)
    for step in range(20):
        world.step(np.stack([written.actions(episode, step, step + 1)[0] for episode in range(6)]))
    for episode in range(6):
        last = np.array([20])
        np.testing.assert_allclose(written.states(episode, last)[0], world.states[episode], atol=1e-3)
        seen = written.frames(episode, last)[0].astype(int)
        replayed = render(world.states, tasks.layouts)[episode].astype(int)
        assert np.abs(seen - replayed).max() <= 1
    assert (written.action_limit.size, written.action_limit.kind) == (LARGEST_MOVE, "norm")
    assert (written.frame_interval, written.frame_size, written.unit) == (4, (64, 64), "px")


def test_the_fraction_of_episodes_in_both_rooms_is_returned(tmp_path):
    done = collect(TwoRooms(), Wander(), tmp_path / "rooms", episodes=40, steps=64)
    assert isinstance(done, Collected) and done.transitions == 2560 and 0.05 < done.crossing_fraction < 1


def test_data_without_the_door_is_refused_and_leaves_nothing_behind(tmp_path):
    with pytest.raises(ValueError, match=r"none of 60 episodes has been in both rooms.*door_probability"):
        collect(TwoRooms(), Wander(), tmp_path / "rooms", episodes=60, steps=1)
    assert not list(tmp_path.iterdir())


def test_counts_below_one_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"episodes \(0\) must be at least 1"):
        collect(TwoRooms(), Wander(), tmp_path / "rooms", episodes=0)
