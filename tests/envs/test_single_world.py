"""Own environments, one at a time, as a suite."""

import importlib.util
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from tests.envs.tiny_environment import Dot, SettableDot, TellingDot
from vjepa.cli.simulation.collect_command import run_collect_command
from vjepa.data.episodes.collection import Collection
from vjepa.envs.baselines import BehaviourPolicy, StraightLine
from vjepa.envs.behaviour import RandomWalk
from vjepa.envs.collection import collect
from vjepa.envs.single_world import SingleWorlds
from vjepa.evaluation.planning.goal_reaching import evaluate
from vjepa.planning.limits import ActionLimit

LIMIT = ActionLimit(1.0, "norm")
RECIPE = """
suite:
  class_path: vjepa.envs.single_world.SingleWorlds
  init_args:
    make_env: {make_env}
    distance: tests.envs.test_single_world.manhattan
    action_limit: {{size: 1.0, kind: norm}}
    radii: [2.0, 1.0]
    action_dim: 2
    frame_size: [10, 12]
behaviour:
  class_path: vjepa.envs.behaviour.RandomWalk
"""


def manhattan(states: np.ndarray, goals: np.ndarray) -> np.ndarray:
    return np.abs(states - goals).sum(-1)


def a_dot() -> Dot:
    return SettableDot()


def suite_of(kind: type[Dot], **settings) -> SingleWorlds:
    return SingleWorlds(kind, LIMIT, **{"radii": (2.0, 1.0), "action_dim": 2, "goal_steps": 12, **settings})


def test_a_suite_has_the_sizes_of_its_environment():
    suite = suite_of(TellingDot)
    assert (suite.frame_size, suite.state_dim, suite.action_dim) == ((20, 20), 2, 2)
    assert suite_of(Dot).state_dim == 256  # a grey copy of the frame
    assert suite_of(TellingDot, frame_size=(10, 12)).begin(suite.tasks(2, 0)).render().shape == (2, 10, 12, 3)


@pytest.mark.parametrize("kind", [Dot, TellingDot, SettableDot])
def test_goals_are_out_of_reach_at_first_and_drawn_as_what_is_seen_there(kind: type[Dot]):
    suite = suite_of(kind)
    tasks = suite.tasks(6, 0, "test")
    assert suite.distances(tasks, tasks.starts).min() > 2.0
    np.testing.assert_array_equal(suite.distances(tasks, tasks.goals), 0)
    np.testing.assert_array_equal(suite.begin(tasks).states, tasks.starts)
    frames = suite.render_goals(tasks)
    assert frames.shape == (6, 20, 20, 3) and frames.dtype == np.uint8
    if kind is SettableDot:
        np.testing.assert_array_equal(frames, suite.begin(tasks._replace(starts=tasks.goals)).render())
    if kind is TellingDot:  # led there again, it looks as one that was set there
        np.testing.assert_array_equal(frames, suite_of(SettableDot).render_goals(tasks))


def test_tasks_depend_on_seed_split_and_number_alone():
    suite = suite_of(TellingDot)
    many, few = suite.tasks(6, 4, "test"), suite.tasks(2, 4, "test")
    for part, of_many in zip(few, many, strict=True):
        np.testing.assert_array_equal(part, of_many[:2])
    assert not np.array_equal(suite.tasks(2, 4, "train").starts, few.starts)


def test_tasks_of_training_have_goals_too():  # behaviour cloning is tuned on them
    suite = suite_of(TellingDot)
    tasks = suite.tasks(4, 4, "train")
    assert suite.distances(tasks, tasks.starts).min() > 2.0


def test_an_episode_alone_is_the_same_as_in_a_batch_and_environments_are_used_again():
    made = []

    def make() -> TellingDot:
        made.append(TellingDot())
        return made[-1]

    suite = SingleWorlds(make, LIMIT, (2.0,), action_dim=2)
    tasks = suite.tasks(5, 0, "train")
    moves = np.random.default_rng(0).normal(size=(8, 5, 2))
    for _ in range(3):
        together, alone = suite.begin(tasks), suite.begin(tasks.rows(slice(3, 4)))
        for move in moves:
            together.step(move)
            alone.step(move[3:4])
        np.testing.assert_array_equal(alone.states[0], together.states[3])
        np.testing.assert_array_equal(alone.render()[0], together.render()[3])
    assert len(made) <= 12  # two worlds at a time, and those before until they are forgotten


def test_without_a_state_the_distance_is_the_difference_of_grey_copies():
    suite = suite_of(Dot)
    tasks = suite.tasks(1, 0, "train")
    assert suite.unit == "grey levels" and suite_of(TellingDot).unit == ""
    np.testing.assert_allclose(suite.distances(tasks, tasks.goals + 3 * (-1.0) ** np.arange(256)), 3)
    assert tasks.starts.min() >= 0 and 100 < tasks.starts.max() <= 255


def test_actions_are_cut_down_to_the_limit():
    suite = suite_of(SettableDot)
    tasks = suite.tasks(1, 0, "train")
    world = suite.begin(tasks._replace(starts=np.array([[10.0, 10.0]])))
    world.step(np.array([[30.0, 40.0]]))
    np.testing.assert_allclose(world.states, [[10.6, 10.8]], atol=0.05)


def test_baselines_and_collections_take_it(tmp_path):
    suite = suite_of(SettableDot)
    done = evaluate(StraightLine(), suite, suite.tasks(8, 0, "test"), steps=30)
    assert done.outcomes.at_end(suite.radii)[:, 0].all() and np.isnan(done.outcomes.shortest).all()
    evaluate(BehaviourPolicy(RandomWalk(), 5), suite, suite.tasks(3, 0, "test"), steps=5)
    collected = collect(suite, RandomWalk(), tmp_path / "dots", episodes=4, steps=8, frame_interval=2)
    assert (collected.episodes, collected.transitions) == (4, 32) and np.isnan(collected.crossing_fraction)


def test_an_environment_without_a_state_can_be_evaluated():
    suite = suite_of(Dot)
    done = evaluate(BehaviourPolicy(RandomWalk(), 6), suite, suite.tasks(3, 0, "test"), steps=6, episodes_per_batch=2)
    alone = evaluate(BehaviourPolicy(RandomWalk(), 6), suite, suite.tasks(3, 0, "test").rows(slice(2, 3)), steps=6)
    assert (done.outcomes.closest >= 0).all()
    np.testing.assert_array_equal(done.outcomes.last[2:], alone.outcomes.last)


@pytest.mark.parametrize("make_env", ["tests.envs.tiny_environment.SettableDot", "tests.envs.test_single_world.a_dot"])
@pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")
def test_a_recipe_names_a_class_or_a_function(make_env: str, tmp_path: Path):
    recipe, output = tmp_path / "dots.yaml", tmp_path / "dots"
    recipe.write_text(RECIPE.format(make_env=make_env))
    run_collect_command(["-c", str(recipe), f"--output={output}", "--episodes=2", "--steps=8"])
    found = Collection(output)
    assert (found.num_episodes, found.frame_size, found.state_dim) == (2, (10, 12), 2)
    assert found.world["suite"]["init_args"]["make_env"] == make_env


@pytest.mark.skipif(importlib.util.find_spec("pygame") is None, reason="gymnasium's classic environments need pygame")
def test_gymnasiums_environments_fit_as_they_are():
    suite = SingleWorlds(
        lambda: gymnasium.make("MountainCarContinuous-v0", render_mode="rgb_array"),
        ActionLimit(1.0),
        radii=(0.01,),
        frame_size=(20, 30),
    )
    tasks = suite.tasks(2, 0, "test")
    assert (suite.action_dim, suite.state_dim, suite.frame_size) == (1, 2, (20, 30))
    assert suite.render_goals(tasks).shape == (2, 20, 30, 3)


def test_an_environment_that_cannot_be_set_to_a_state_is_refused():
    suite = suite_of(TellingDot)
    tasks = suite.tasks(1, 0, "train")
    with pytest.raises(ValueError, match=r"give the environment a method set_state\(state\)"):
        suite.begin(tasks._replace(starts=tasks.starts + 1))
    with pytest.raises(ValueError, match=r"does not come to the task's goal again"):
        suite.render_goals(suite.tasks(1, 0, "test")._replace(goals=tasks.starts + 1))


def test_goals_that_cannot_be_left_for_are_refused():
    suite = suite_of(TellingDot, radii=(100.0,), unit="px")
    with pytest.raises(ValueError, match=r"in 50 tries of 12 steps own came no farther than [\d.]+ px"):
        suite.tasks(1, 0, "test")


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match=r"radii \(1.0, 2.0\) must be one or more distances, the largest first"):
        suite_of(Dot, radii=(1.0, 2.0))
    with pytest.raises(ValueError, match=r"goal_steps \(0\) must be at least 1"):
        suite_of(Dot, goal_steps=0)
    with pytest.raises(ValueError, match=r"its action_space does not state their length; give action_dim"):
        suite_of(Dot, action_dim=None)
    with pytest.raises(ValueError, match=r"split 'held_out' of own must be one of train, test"):
        suite_of(Dot).tasks(1, 0, "held_out")


def test_environments_that_draw_something_else_are_refused():
    class Grey(Dot):
        def render(self) -> np.ndarray:
            return super().render()[..., 0]

    with pytest.raises(ValueError, match=r"must return \(H, W, 3\) uint8, not \(20, 20\) uint8"):
        suite_of(Grey)


class _Wide(Dot):
    """With a state, or something else in its place."""

    found: object = None

    def get_state(self) -> object:
        return self.found


@pytest.mark.parametrize(
    "found", [{"agent": np.zeros(2)}, "at the door", [[1, 2], [3]], np.array([{}]), np.array([np.nan]), np.empty(0)]
)
def test_a_state_that_is_no_array_of_numbers_is_refused(found):
    kind = type("Env", (_Wide,), {"found": found})
    with pytest.raises(
        ValueError, match=r"get_state\(\) or `state` of an environment must be an array of finite numbers"
    ):
        suite_of(kind)
    with pytest.raises(ValueError, match="must be an array of finite numbers, not "):
        suite_of(type("Env", (Dot,), {"state": {"agent": 1.0}}))


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ({"reset": lambda self: None}, r"reset\(\) of own can't be called as reset\(seed=0\)"),
        ({"reset": lambda self, generator: None}, r"reset\(generator\) of own can't be called as reset\(seed=0\)"),
        ({"reset": None}, "own has no method reset; wrap the environment"),
        ({"step": lambda self: None}, r"step\(\) of own can't be called as step\(action\)"),
        ({"step": lambda self, action, seconds: None}, r"can't be called as step\(action\)"),
        ({"render": lambda self, mode: None}, r"render\(mode\) of own can't be called as render\(\)"),
        ({"render": None}, "own has no method render"),
        ({"render": lambda self: [[1, 2], [3]]}, r"render\(\) of an environment must return \(H, W, 3\) uint8"),
        ({"render": lambda self: None}, r"render\(\) of an environment must return \(H, W, 3\) uint8"),
        ({"get_state": lambda self, number: None}, r"get_state\(number\) of own can't be called as get_state\(\)"),
        ({"action_space": gymnasium.spaces.Discrete(4)}, r"actions of own are Discrete\(4\), and step must take"),
        ({"action_space": gymnasium.spaces.MultiDiscrete([3, 3])}, "actions of own are MultiDiscrete"),
        ({"action_space": gymnasium.spaces.MultiBinary(2)}, "actions of own are MultiBinary"),
        ({"action_space": gymnasium.spaces.Dict(x=gymnasium.spaces.Box(-1, 1, (2,)))}, "actions of own are Dict"),
        ({"action_space": gymnasium.spaces.Box(-1, 1, (3,))}, r"are Box.*, and step must take an array of 2 floats"),
    ],
)
def test_an_environment_with_other_methods_or_actions_is_refused(methods, message):
    with pytest.raises(ValueError, match=message):
        suite_of(type("Env", (Dot,), methods))


@pytest.mark.parametrize("space", [gymnasium.spaces.Discrete(4), gymnasium.spaces.MultiBinary(2)])
def test_discrete_actions_are_refused_where_no_length_is_given(space):
    with pytest.raises(ValueError, match=r"actions of own are .* an array of A floats"):
        suite_of(type("Env", (Dot,), {"action_space": space}), action_dim=None)
