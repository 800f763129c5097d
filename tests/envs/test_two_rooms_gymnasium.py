"""Two Rooms as gymnasium knows environments."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from vjepa.envs.two_rooms import LARGEST_MOVE, TwoRooms
from vjepa.envs.two_rooms_gymnasium import ID, TwoRoomsEnv, register_two_rooms


@pytest.mark.parametrize("observe", ["all", "pixels"])
def test_gymnasiums_own_check_finds_nothing(observe: str):
    register_two_rooms()
    env = gymnasium.make(ID, observe=observe, layouts="random", render_mode="rgb_array")
    check_env(env.unwrapped)  # a warning would fail the test
    assert env.reset(seed=0)[0] in env.observation_space
    env.close()


def test_it_can_be_registered_twice():
    register_two_rooms()
    register_two_rooms()
    assert ID in gymnasium.registry


def test_an_episode_is_that_of_the_suite():
    env = TwoRoomsEnv(render_mode="rgb_array")
    seen, _ = env.reset(seed=3)
    world = TwoRooms().begin(env.task)
    for _ in range(5):
        action = np.array([0.6, -0.4], np.float32)
        seen, reward, terminated, truncated, facts = env.step(action)
        world.step(LARGEST_MOVE * action[None])
    np.testing.assert_array_equal(seen["image"], world.render()[0])
    np.testing.assert_array_equal(env.render(), seen["image"])
    np.testing.assert_allclose(seen["state"], world.states[0], rtol=1e-6)
    assert (reward, terminated, truncated, facts["is_success"]) == (0.0, False, False, False)


def test_it_is_terminated_at_the_goal_and_truncated_after_200_steps():
    env = TwoRoomsEnv()
    env.reset(seed=0, options={"start": (10, 40), "goal": (18, 40)})
    assert not env.step([2 / LARGEST_MOVE, 0.0])[2]
    _, reward, terminated, _, facts = env.step([2 / LARGEST_MOVE, 0.0])
    assert (reward, terminated, facts["distance"]) == (1.0, True, pytest.approx(4.0))

    env.reset(seed=0)
    truncated = [env.step([0.0, 0.0])[3] for _ in range(200)]
    assert truncated == [False] * 199 + [True]


def test_options_set_positions_and_a_seed_draws_the_rest():
    env = TwoRoomsEnv(layouts="random")
    first, _ = env.reset(seed=5)
    again, _ = env.reset(seed=5)
    np.testing.assert_array_equal(first["image"], again["image"])
    there, _ = env.reset(seed=5, options={"start": (12, 30)})
    np.testing.assert_array_equal(there["state"], [12, 30])
    np.testing.assert_array_equal(there["goal_image"], first["goal_image"])


def test_wrong_options_and_settings_are_refused():
    with pytest.raises(ValueError, match=r"option 'door' of Two Rooms must be one of start, goal, layout"):
        TwoRoomsEnv().reset(options={"door": 3})
    with pytest.raises(ValueError, match=r"option 'start' of Two Rooms must be two numbers, not 3"):
        TwoRoomsEnv().reset(options={"start": (1, 2, 3)})
    with pytest.raises(ValueError, match=r"observe 'frames' must be one of all, pixels"):
        TwoRoomsEnv(observe="frames")
    with pytest.raises(ValueError, match=r"render_mode 'human' must be None or 'rgb_array'"):
        TwoRoomsEnv(render_mode="human")
