"""Push-T, where gym-pusht is installed."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from vjepa.cli.parser import HelpfulParser
from vjepa.cli.simulation.collect_command import run_collect_command
from vjepa.cli.simulation.plan_command import plan
from vjepa.data.episodes.collection import Collection
from vjepa.envs.collection import collect
from vjepa.envs.push_t import FIELD, Pushing, PushTEnvironment, block_distance, push_t

needs_gym_pusht = pytest.mark.skipif(
    importlib.util.find_spec("gym_pusht") is None, reason="gym-pusht is not installed (an extra)"
)


def test_distance_is_pixels_plus_30_per_radian_of_the_block_alone():
    here = np.array([100.0, 100.0, 200.0, 200.0, np.radians(170)])
    there = np.array([300.0, 300.0, 203.0, 204.0, np.radians(-170)])
    assert block_distance(here, there) == pytest.approx(5 + 30 * np.radians(20))
    assert block_distance(here, here + np.array([9, 9, 0, 0, 4 * np.pi])) == pytest.approx(0)


def test_without_gym_pusht_the_error_gives_the_installation(monkeypatch):
    monkeypatch.setitem(sys.modules, "gym_pusht.envs", None)
    monkeypatch.setitem(sys.modules, "gym_pusht", None)
    with pytest.raises(ValueError, match=r"Push-T needs gym-pusht .* `pip install --no-deps 'gym-pusht>=0.1.8,<0.2'`"):
        PushTEnvironment()


@needs_gym_pusht
def test_an_episode_alone_is_the_same_as_in_a_batch():
    suite = push_t()
    tasks = suite.tasks(3, 0, "train")
    moves = np.random.default_rng(0).normal(0, 30, (10, 3, 2))
    together, alone = suite.begin(tasks), suite.begin(tasks.rows(slice(1, 2)))
    for move in moves:
        together.step(move)
        alone.step(move[1:2])
    np.testing.assert_array_equal(alone.states[0], together.states[1])
    np.testing.assert_array_equal(alone.render()[0], together.render()[1])


@needs_gym_pusht
def test_goals_are_states_that_it_can_be_brought_to():
    suite = push_t(goal_steps=40)
    tasks = suite.tasks(3, 1, "test")
    assert suite.distances(tasks, tasks.starts).min() > suite.radii[0]
    np.testing.assert_array_equal(suite.begin(tasks._replace(starts=tasks.goals)).states, tasks.goals)
    assert suite.render_goals(tasks).shape == (3, 64, 64, 3)


@needs_gym_pusht
def test_the_agent_moves_towards_where_it_is_drawn_and_pushes_the_block():
    suite = push_t()
    tasks = suite.tasks(1, 0, "train")
    start = np.array([[100.0, 300.0, 300.0, 280.0, 0.0]])
    world = suite.begin(tasks._replace(starts=start))
    world.step(np.array([[20.0, 0.0]]))
    moved = world.states[0] - start[0]
    assert 4 < moved[0] < 8 and abs(moved[1]) < 1e-6
    np.testing.assert_allclose(moved[2:], 0, atol=1e-9)
    for _ in range(20):
        world.step(np.array([[40.0, 0.0]]))
    assert world.states[0, 2] > start[0, 2] + 20


@needs_gym_pusht
def test_a_frame_shows_agent_and_block_where_they_are():
    suite = push_t()
    tasks = suite.tasks(1, 0, "train")
    frame = suite.begin(tasks._replace(starts=np.array([[100.0, 400.0, 300.0, 120.0, 0.0]]))).render()[0].astype(int)
    blue = np.clip(frame[..., 2] - frame[..., 0] - 60, 0, None)  # the block's grey is 34 bluer than it is red
    y, x = np.mgrid[:64, :64] + 0.5
    assert (blue * x).sum() / blue.sum() * 8 == pytest.approx(100, abs=2)
    assert (blue * y).sum() / blue.sum() * 8 == pytest.approx(400, abs=2)
    darkest = frame[..., 0] < 130
    assert 250 < 8 * x[darkest & (blue == 0)].mean() < 350


@needs_gym_pusht
def test_pushing_moves_the_block_about_inside_of_the_field(tmp_path):
    suite = push_t()
    tasks = suite.tasks(4, 0, "train")
    world, behaviour = suite.begin(tasks), Pushing()
    behaviour.begin(suite, tasks, 60)
    for _ in range(60):
        world.step(behaviour.act(world))
    assert (np.linalg.norm((world.states - tasks.starts)[:, 2:4], axis=1) > 5).mean() >= 0.75
    assert (world.states[:, :4] > 0).all() and (world.states[:, :4] < FIELD).all()
    collected = collect(suite, Pushing(), tmp_path / "pushed", episodes=2, steps=8)
    assert np.isnan(collected.crossing_fraction)


@needs_gym_pusht
@pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")
def test_its_recipe_collects_episodes(tmp_path: Path):
    recipe = Path(__file__).parents[2] / "configs/collect/push_t.yaml"
    run_collect_command(["-c", str(recipe), f"--output={tmp_path}/push_t", "--episodes=2", "--steps=8"])
    found = Collection(tmp_path / "push_t")
    assert (found.num_episodes, found.frame_size, found.state_dim, found.unit) == (2, (64, 64), 5, "px")


@needs_gym_pusht
@pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")
def test_its_recipe_of_planning_is_of_this_suite():
    parser = HelpfulParser(exit_on_error=False)
    parser.add_argument("-c", "--config", action="config")
    parser.add_function_arguments(plan, skip={"configuration"})
    recipe = Path(__file__).parents[2] / "configs/plan/push_t.yaml"
    given = parser.instantiate(parser.parse_args(["-c", str(recipe)]))
    assert given["suite"].name == "push_t" and "oracle" not in given["baselines"]
