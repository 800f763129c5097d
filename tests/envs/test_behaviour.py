"""What agents do while data is collected: reproducible, and everywhere."""

import numpy as np
import pytest

from tests.envs.tiny_environment import SettableDot
from vjepa.envs.baselines import BehaviourPolicy, StraightLine
from vjepa.envs.behaviour import Behaviour, RandomWalk, Wander
from vjepa.envs.single_world import SingleWorlds
from vjepa.envs.two_rooms import LARGEST_MOVE, TwoRooms
from vjepa.envs.two_rooms_collision import BORDER, SIZE
from vjepa.envs.world import Tasks
from vjepa.planning.limits import ActionLimit


def run(behaviour: Behaviour, suite: TwoRooms, tasks: Tasks, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """States (B, T + 1, 2) and actions (B, T, 2)."""
    world = suite.begin(tasks)
    behaviour.begin(suite, tasks, steps)
    states, actions = [world.states], []
    for _ in range(steps):
        actions.append(behaviour.act(world))
        world.step(actions[-1])
        states.append(world.states)
    return np.stack(states, axis=1), np.stack(actions, axis=1)


@pytest.mark.parametrize("behaviour", [RandomWalk(), Wander()])
def test_an_episode_behaves_the_same_alone_and_again(behaviour: Behaviour):
    suite = TwoRooms("random")
    tasks = suite.tasks(10, 0, "train")
    states, actions = run(behaviour, suite, tasks, 40)
    alone = run(behaviour, suite, tasks.rows(slice(6, 7)), 40)
    np.testing.assert_array_equal(alone[0][0], states[6])
    np.testing.assert_array_equal(alone[1][0], actions[6])


@pytest.mark.parametrize("behaviour", [RandomWalk(), Wander()])
def test_actions_keep_to_the_limit_and_are_of_all_sizes(behaviour: Behaviour):
    suite = TwoRooms()
    _, actions = run(behaviour, suite, suite.tasks(100, 0, "train"), 50)
    size = np.linalg.norm(actions, axis=-1)
    assert size.max() <= LARGEST_MOVE + 1e-9
    assert (size < LARGEST_MOVE / 3).mean() > 0.05 and (size > LARGEST_MOVE * 0.99).mean() > 0.05


def test_a_random_walk_keeps_its_direction_for_a_while():
    suite = TwoRooms()
    _, actions = run(RandomWalk(correlation=0.9), suite, suite.tasks(200, 0, "train"), 30)
    along = (actions[:, 1:] * actions[:, :-1]).sum() / np.square(actions).sum()
    assert 0.75 < along < 0.98


def test_wandering_goes_everywhere_and_through_the_door():
    suite = TwoRooms("fixed")
    states, _ = run(Wander(), suite, suite.tasks(300, 0, "train"), 128)
    places = states.reshape(-1, 2)
    cells, *_ = np.histogram2d(places[:, 0], places[:, 1], bins=9, range=[[BORDER, SIZE - BORDER]] * 2)
    in_the_wall = np.zeros((9, 9), bool)
    in_the_wall[4] = True
    assert cells[~in_the_wall].min() > 50  # of 38,700 places in 72 cells, corners and borders among them
    rooms = np.sign(states[..., 0] - 32)
    assert 0.35 < (rooms != rooms[:, :1]).any(1).mean() < 0.9
    at_border = (places.min(1) < BORDER + 0.01) | (places.max(1) > SIZE - BORDER - 0.01)
    at_wall = np.abs(np.abs(places[:, 0] - 32) - 3.5) < 0.01
    assert at_border.mean() > 0.01 and at_wall.mean() > 0.01


def test_walks_alone_rarely_find_the_door():
    suite = TwoRooms("fixed")
    tasks = suite.tasks(200, 0, "train")
    fractions = []
    for behaviour in (Wander(0.0, 0.0), Wander(1.0, 0.0)):
        states, _ = run(behaviour, suite, tasks, 128)
        rooms = np.sign(states[..., 0] - 32)
        fractions.append((rooms != rooms[:, :1]).any(1).mean())
    assert fractions[0] < 0.4 and fractions[1] > 0.9


def test_wrong_probabilities_and_worlds_without_a_door_are_refused():
    with pytest.raises(
        ValueError, match=r"door_probability \(0.8\) and target_probability \(0.5\) must not be negative, nor sum"
    ):
        Wander(door_probability=0.8, target_probability=0.5)
    suite = SingleWorlds(SettableDot, ActionLimit(1.0), (2.0,), action_dim=2)
    with pytest.raises(ValueError, match=r"wandering needs rooms with a door; own has none: take RandomWalk"):
        Wander().begin(suite, suite.tasks(1, 0, "train"), 5)


def test_the_straight_line_leads_to_the_goal_within_a_room():
    suite = TwoRooms()
    tasks = suite.tasks(20, 0, "same_room")
    policy, world = StraightLine(), suite.begin(tasks)
    policy.begin(suite, tasks)
    for _ in range(40):
        world.step(policy.act(world))
    np.testing.assert_allclose(suite.distances(tasks, world.states), 0, atol=1e-6)


def test_there_is_no_straight_line_where_actions_have_more_numbers_than_states():
    suite = SingleWorlds(SettableDot, ActionLimit(1.0), (2.0,), action_dim=3)
    with pytest.raises(ValueError, match=r"no straight line in own: actions have 3 numbers, and states only 2"):
        StraightLine().begin(suite, TwoRooms().tasks(1, 0, "train"))


def test_the_behaviour_policy_acts_as_in_the_data():
    suite = TwoRooms()
    tasks = suite.tasks(5, 0, "test")
    policy, world = BehaviourPolicy(RandomWalk(), 10), suite.begin(tasks)
    policy.begin(suite, tasks)
    done = np.stack([policy.act(world) for _ in range(10)], axis=1)
    np.testing.assert_array_equal(done, run(RandomWalk(), suite, tasks, 10)[1])
