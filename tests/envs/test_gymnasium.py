"""What an agent of gymnasium's may ask of Two Rooms: tasks by number, a split, a radius, a length of episodes."""

import gymnasium
import numpy as np
import pytest

from vjepa.envs.two_rooms import TwoRooms
from vjepa.envs.two_rooms_gymnasium import ID, TwoRoomsEnv, register_two_rooms


@pytest.mark.parametrize("split", ["test", "held_out"])
def test_a_task_by_number_is_that_of_the_suite(split: str):
    tasks = TwoRooms("random").tasks(6, 7, split)
    env = TwoRoomsEnv(layouts="random")
    seen, facts = env.reset(seed=7, options={"split": split, "task": 4})
    for part, of_all in zip(env.task, tasks.rows(slice(4, 5)), strict=True):
        np.testing.assert_array_equal(part, of_all)
    np.testing.assert_allclose(seen["goal_state"], tasks.goals[4], rtol=1e-6)
    assert facts["distance"] == pytest.approx(np.linalg.norm(tasks.goals[4] - tasks.starts[4]))


def test_a_split_holds_for_one_episode():
    env = TwoRoomsEnv()
    seen, _ = env.reset(seed=1, options={"split": "same_room"})
    assert np.sign(seen["state"][0] - 32) == np.sign(seen["goal_state"][0] - 32)
    seen, _ = env.reset(seed=1)
    assert np.sign(seen["state"][0] - 32) != np.sign(seen["goal_state"][0] - 32)


def test_radius_and_max_steps_are_settings_of_the_registered_environment():
    register_two_rooms()
    env = gymnasium.make(ID, radius=1.0, max_steps=2)
    env.reset(seed=0, options={"start": (10, 40), "goal": (14, 40)})
    stay = np.zeros(2, np.float32)
    assert env.step(stay)[1:4] == (0.0, False, False)  # 4 px away, where the usual radius is 4.5
    assert env.step(stay)[1:4] == (0.0, False, True)
    env.close()


def test_actions_longer_than_the_limit_are_cut_down():
    env = TwoRoomsEnv()
    env.reset(seed=0, options={"start": (15, 40)})
    seen = env.step(np.array([3.0, 4.0]))[0]
    np.testing.assert_allclose(seen["state"], [15 + 0.6 * 2.45, 40 + 0.8 * 2.45], rtol=1e-5)


def test_wrong_tasks_and_settings_are_refused():
    with pytest.raises(ValueError, match=r"task number 3 must be 0 or more, and of a seed; call reset\(seed=...\)"):
        TwoRoomsEnv().reset(options={"task": 3})
    with pytest.raises(ValueError, match=r"split 'train_too' of Two Rooms must be one of train, test, held_out"):
        TwoRoomsEnv().reset(seed=0, options={"split": "train_too"})
    with pytest.raises(ValueError, match=r"radius \(0\) must be more than 0 pixels"):
        TwoRoomsEnv(radius=0)
    with pytest.raises(ValueError, match=r"max_steps \(0\) must be at least 1"):
        TwoRoomsEnv(max_steps=0)
