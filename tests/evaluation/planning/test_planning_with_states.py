"""Models whose dynamics need states plan in a world: it says where it is, and what is imagined depends on it."""

import numpy as np
import pytest
import torch

from vjepa.envs.two_rooms import TwoRooms
from vjepa.evaluation.planning.goal_reaching import evaluate
from vjepa.evaluation.planning.model_policy import ModelPolicy
from vjepa.models.dynamics.causal import CausalDynamics
from vjepa.models.dynamics.rollout import Dynamics
from vjepa.models.dynamics.token_dynamics import TokenDynamics
from vjepa.models.frame_encoder import ConvFrameEncoder
from vjepa.planning.cross_entropy import CrossEntropyMethod
from vjepa.training import WorldModel

PLANNER = CrossEntropyMethod(horizon=3, samples=8, elites=2, iterations=2)
D, CHUNK = 8, 8
DYNAMICS = {
    "token": lambda: TokenDynamics(D, CHUNK, (1, 1), state_dim=2, context=3, width=24, depth=1, num_heads=2),
    "causal": lambda: CausalDynamics(D, CHUNK, width=16, depth=1, num_heads=2, context=2, state_dim=2),
    "causal, one frame": lambda: CausalDynamics(D, CHUNK, width=16, depth=1, num_heads=2, context=1, state_dim=2),
}


def model_with(dynamics: Dynamics) -> WorldModel:
    for parameter in dynamics.parameters():  # what begins at zero would hide that it is looked at
        torch.nn.init.normal_(parameter, std=0.2)
    encoder = ConvFrameEncoder((64, 64), embed_dim=D, channels=8, num_keypoints=4, hidden_dim=32)
    return WorldModel(encoder, lambda *sizes: dynamics, action_dim=2, frame_step=4)


@pytest.fixture(params=DYNAMICS)
def model(request) -> WorldModel:
    torch.manual_seed(0)
    return model_with(DYNAMICS[request.param]())


def test_an_untrained_model_plans_an_episode(model):
    suite = TwoRooms()
    tasks = suite.tasks(2, seed=0, split="test")
    policy = ModelPolicy(model, PLANNER, replan_every=1)
    done = evaluate(policy, suite, tasks, steps=16, keep=2)
    assert done.num_plans == 2 * 4
    assert np.isfinite(done.actions).all()


def test_a_state_is_kept_for_each_frame_that_is(model):
    suite = TwoRooms()
    tasks = suite.tasks(2, seed=0, split="test")
    policy, world, seen = ModelPolicy(model, PLANNER, replan_every=1), suite.begin(tasks), []
    policy.begin(suite, tasks)
    for step in range(13):  # a frame is looked at after 0, 4, 8 and 12 raw steps
        if step % 4 == 0:
            seen.append(world.states)
        world.step(policy.act(world))
    context = model.dynamics.context
    assert policy.past.shape[1] == context
    np.testing.assert_allclose(policy.past_states, np.stack(seen[-context:], axis=1), rtol=1e-6)


def test_another_state_changes_what_is_imagined(model):
    suite = TwoRooms()
    tasks = suite.tasks(1, seed=0, split="test")
    policy = ModelPolicy(model, PLANNER)
    policy.begin(suite, tasks)
    policy.act(suite.begin(tasks))
    actions = torch.ones(4, 3, 2)
    with torch.no_grad():
        before = policy.imagination(0)(actions)
        policy.past_states = policy.past_states + 5
        after = policy.imagination(0)(actions)
    assert before.shape == (4, 3, 1, D)
    assert (before - after).abs().amax((0, 2, 3)).min() > 1e-3  # at each step, later ones hold the state


def test_a_new_batch_of_episodes_begins_without_the_states_of_the_last(model):
    suite = TwoRooms()
    policy = ModelPolicy(model, PLANNER)
    for count in (3, 1):
        evaluate(policy, suite, suite.tasks(count, seed=0, split="test"), steps=8)
    assert policy.past_states.shape[0] == 1


def test_states_are_not_asked_of_a_world_that_need_not_give_them():
    torch.manual_seed(0)
    suite = TwoRooms()
    tasks = suite.tasks(1, seed=0, split="test")
    policy = ModelPolicy(model_with(CausalDynamics(D, CHUNK, width=16, depth=1, num_heads=2)), PLANNER)
    policy.begin(suite, tasks)
    policy.act(suite.begin(tasks))
    assert policy.past_states is None
