"""The agent of a control loop takes the actions of `vjepa plan`."""

from pathlib import Path

import numpy as np
import pytest

import vjepa
from tests.training.tiny_dot_world import dot_model
from vjepa.envs.two_rooms import TwoRooms
from vjepa.evaluation.planning.goal_reaching import evaluate
from vjepa.evaluation.planning.model_policy import ModelPolicy, planning_seeds
from vjepa.planning.cross_entropy import CrossEntropyMethod
from vjepa.training.world_model_run import read_world_model

SEARCH = {"horizon": 8, "samples": 16, "elites": 4, "iterations": 2}


@pytest.mark.slow
def test_it_acts_as_the_policy_that_is_evaluated():
    model, suite = read_world_model(Path("two_rooms")).model, TwoRooms()
    tasks = suite.tasks(1, 7_000_003, "test")
    steps = 30
    done = evaluate(ModelPolicy(model, CrossEntropyMethod(**SEARCH)), suite, tasks, steps, keep=1)
    world, goal = suite.begin(tasks), suite.render_goals(tasks)[0]
    agent = vjepa.Agent("two_rooms", goal, CrossEntropyMethod(**SEARCH), seed=int(planning_seeds(tasks)[0]))
    actions = []
    for _ in range(steps):
        action = agent.act(world.render()[0])
        actions.append(action)
        world.step(action[None])
    np.testing.assert_array_equal(np.stack(actions), done.actions[0].astype(np.float32))


def test_another_goal_is_planned_for_at_once():
    suite = TwoRooms()
    tasks = suite.tasks(2, 3, "test")
    first, second = suite.render_goals(tasks)
    frame = suite.begin(tasks.rows(slice(1))).render()[0]
    agent = vjepa.Agent("two_rooms", first, CrossEntropyMethod(**SEARCH))
    agent.act(frame)
    plans = agent.policy.num_plans
    agent.set_goal(second)
    agent.act(frame)
    assert agent.policy.num_plans == plans + 1


def test_slips_are_one_sentence():
    suite = TwoRooms()
    goal = suite.render_goals(suite.tasks(1, 3, "test"))[0]
    with pytest.raises(ValueError, match="frames of 32x32 pixels do not fit this model, which takes 64x64"):
        vjepa.Agent("two_rooms", goal[::2, ::2])
    with pytest.raises(ValueError, match="are of an encoder of clips, not of a world model"):
        vjepa.Agent("synthetic", goal)
    with pytest.raises(ValueError, match="the model does not know the limit of actions"):
        vjepa.Agent(dot_model(), goal)
    with pytest.raises(AttributeError, match="no attribute 'agent'"):
        vjepa.agent  # noqa: B018
