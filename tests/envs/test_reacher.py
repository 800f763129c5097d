"""Reacher, where dm_control is installed and MuJoCo can draw."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from vjepa.cli.simulation.collect_command import run_collect_command
from vjepa.data.episodes.collection import Collection
from vjepa.envs.reacher import arm_distance, reacher
from vjepa.envs.single_world import SingleWorlds


@pytest.fixture(scope="module")
def suite() -> SingleWorlds:
    for package in ("dm_control", "mujoco"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed (an extra)")
    try:
        return reacher()
    except ValueError as error:
        pytest.skip(str(error))


def test_distance_is_the_larger_of_elbows_and_fingertips():
    straight, folded = np.array([0.0, 0.0, 0, 0]), np.array([0.0, np.pi, 0, 0])
    assert arm_distance(straight, folded) == pytest.approx(24)  # the tip; the elbow is where it was
    mirrored = np.array([[0.6, -1.2, 0, 0], [-0.6, 1.2, 0, 0]])  # the tip in one place, the elbow in two
    assert arm_distance(mirrored[0], mirrored[1]) == pytest.approx(24 * np.sin(0.6))
    assert arm_distance(straight, straight + np.array([2 * np.pi, 0, 3, 3])) == pytest.approx(0)


def test_without_dm_control_the_error_gives_the_installation(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"install them with `pip install 'video-jepa\[reacher\]'`"):
        reacher()


def test_an_episode_alone_is_the_same_as_in_a_batch(suite: SingleWorlds):
    tasks = suite.tasks(4, 0, "train")
    torques = np.random.default_rng(0).normal(size=(15, 4, 2))
    together, alone = suite.begin(tasks), suite.begin(tasks.rows(slice(2, 3)))
    for torque in torques:
        together.step(torque)
        alone.step(torque[2:3])
    np.testing.assert_array_equal(alone.states[0], together.states[2])
    np.testing.assert_array_equal(alone.render()[0], together.render()[2])
    assert np.abs(together.states - tasks.starts).max() > 0.05


def test_goals_are_states_that_it_can_be_brought_to(suite: SingleWorlds):
    tasks = suite.tasks(4, 0, "test")
    assert suite.distances(tasks, tasks.starts).min() > suite.radii[0]
    goals = suite.begin(tasks._replace(starts=tasks.goals))
    np.testing.assert_array_equal(goals.states, tasks.goals)
    np.testing.assert_array_equal(goals.render(), suite.render_goals(tasks))
    assert suite.render_goals(tasks).shape == (4, 64, 64, 3)


def test_frames_show_the_arm(suite: SingleWorlds):
    tasks = suite.tasks(1, 0, "train")
    first, second = (
        suite.begin(tasks._replace(starts=np.array([[angle, 0.0, 0, 0]]))).render()[0].astype(int)
        for angle in (0.0, np.pi)
    )
    changed = np.abs(first - second).sum(-1) > 60
    y, x = np.nonzero(changed)
    assert 20 < changed.sum() < 400 and np.ptp(x) > 3 * np.ptp(y)


@pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")
def test_its_recipe_collects_episodes(suite: SingleWorlds, tmp_path: Path):
    recipe = Path(__file__).parents[2] / "configs/collect/reacher.yaml"
    run_collect_command(["-c", str(recipe), f"--output={tmp_path}/reacher", "--episodes=2", "--steps=8"])
    found = Collection(tmp_path / "reacher")
    assert (found.num_episodes, found.frame_size, found.state_dim, found.unit) == (2, (64, 64), 4, "cm")
