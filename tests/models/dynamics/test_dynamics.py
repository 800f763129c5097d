"""What dynamics and rollouts must do, whoever they are."""

import pytest
import torch

from tests.parity.golden import Case, action_predictor_of, cases
from vjepa.models.dynamics.causal import CausalDynamics
from vjepa.models.dynamics.residual import GRUDynamics, ResidualDynamics
from vjepa.models.dynamics.rollout import Dynamics, rollout, rollouts_from_every_frame
from vjepa.models.dynamics.token_dynamics import TokenDynamics

B, T, D, A = 3, 6, 8, 4
WHO = {
    "residual": (1, lambda: ResidualDynamics(D, A, 16)),
    "recurrent": (1, lambda: GRUDynamics(D, A, num_layers=2)),
    "causal": (2, lambda: CausalDynamics(D, A, num_tokens=2, width=16, depth=2, num_heads=2, context=3)),
    "token": (4, lambda: TokenDynamics(D, A, (2, 2), 5, context=3, width=24, depth=2, num_heads=2)),
}


@pytest.fixture(params=WHO)
def case(request) -> tuple[Dynamics, torch.Tensor, torch.Tensor, torch.Tensor | None]:
    torch.manual_seed(0)
    num_tokens, make = WHO[request.param]
    dynamics = make()
    for parameter in dynamics.parameters():  # what begins at zero would hide what it depends on
        torch.nn.init.normal_(parameter, std=0.2)
    states = torch.randn(B, T, 5) if dynamics.needs_states else None
    return dynamics, torch.randn(B, T, num_tokens, D), torch.randn(B, T, A), states


def test_nothing_depends_on_what_comes_later(case):
    dynamics, latents, actions, states = case
    before = dynamics(latents, actions, states)
    assert before.shape == latents.shape
    other_latents, other_actions = latents.clone(), actions.clone()
    other_latents[:, 4:] += 1
    other_actions[:, 4:] += 1
    after = dynamics(other_latents, other_actions, states)
    torch.testing.assert_close(after[:, :4], before[:, :4])
    assert not torch.allclose(after[:, 4], before[:, 4], atol=1e-4)


def test_the_first_step_of_a_rollout_is_the_forward_pass(case):
    dynamics, latents, actions, states = case
    known = min(dynamics.context, 3)
    rolled = rollout(dynamics, latents[:, :known], actions[:, :known], states)
    seen = None if states is None else states[:, :known]
    torch.testing.assert_close(rolled[:, 0], dynamics(latents[:, :known], actions[:, :known], seen)[:, -1])


def test_a_rollout_feeds_back_what_it_predicts(case):
    dynamics, latents, actions, states = case
    window, imagined = latents[:, :1], []
    for step in range(T):
        first = max(0, step + 1 - dynamics.context)
        seen = None if states is None else states[:, first : step + 1]
        following = dynamics(window[:, first:], actions[:, first : step + 1], seen)[:, -1:]
        window = torch.cat((window, following), dim=1)
        imagined.append(following)
    torch.testing.assert_close(rollout(dynamics, latents[:, :1], actions, states), torch.cat(imagined, dim=1))


def test_gradients_reach_the_actions_of_a_plan(case):
    dynamics, latents, actions, states = case
    actions.requires_grad_()
    rollout(dynamics, latents[:, :1], actions, states).square().mean().backward()
    assert (actions.grad.abs().sum((0, 2)) > 0).all()


def test_actions_of_another_length_are_refused(case):
    dynamics, latents, actions, states = case
    with pytest.raises(ValueError, match="actions of 3 numbers do not fit dynamics whose action chunks have 4"):
        dynamics(latents, actions[..., :3], states)
    with pytest.raises(ValueError, match="leave nothing to imagine"):
        rollout(dynamics, latents[:, :3], actions[:, :2], states)


@pytest.mark.parametrize("kind", ["residual", "recurrent"])
def test_rollouts_from_every_frame_are_those_from_each(kind):
    torch.manual_seed(0)
    dynamics, latents, actions = WHO[kind][1](), torch.randn(B, T, 1, D), torch.randn(B, T - 1, A)
    together = rollouts_from_every_frame(dynamics, latents, actions, T - 1)
    assert len(rollouts_from_every_frame(dynamics, latents, actions, 2)) == 2
    for first in range(T - 1):
        alone = rollout(dynamics, latents[:, first : first + 1], actions[:, first:])
        for steps in range(1, T - first):
            torch.testing.assert_close(together[steps - 1][:, first], alone[:, steps - 1])


def test_a_long_window_is_seen_as_rollouts_see_it(case):
    dynamics, latents, actions, _ = case
    if not isinstance(dynamics, CausalDynamics):
        pytest.skip("the others look at all that they are given")
    whole = dynamics(latents, actions)
    last = dynamics(latents[:, -dynamics.context :], actions[:, -dynamics.context :])
    torch.testing.assert_close(whole[:, -1], last[:, -1])


def test_untrained_causal_dynamics_say_that_nothing_moves():
    latents = torch.randn(B, T, 2, D)
    dynamics = WHO["causal"][1]()
    torch.testing.assert_close(dynamics(latents, torch.randn(B, T, A)), latents, rtol=0, atol=0)


def test_causal_dynamics_may_know_states():
    dynamics = CausalDynamics(D, A, width=16, depth=1, num_heads=2, state_dim=5)
    latents, actions = torch.randn(B, 2, 1, D), torch.randn(B, 2, A)
    assert dynamics(latents, actions, torch.randn(B, 2, 5)).shape == latents.shape
    with pytest.raises(ValueError, match="need states and the data has none"):
        dynamics(latents, actions)
    with pytest.raises(ValueError, match="latents of 2 tokens don't fit dynamics of 1"):
        dynamics(torch.randn(B, 2, 2, D), actions, torch.randn(B, 2, 5))


@cases("vjepa2ac_predictor_plain")
@torch.no_grad()
def test_token_dynamics_are_the_reference(case: Case):
    settings, tensors = case.settings, case.tensors
    side = settings["image_size"] // settings["patch_size"]
    predictor = action_predictor_of(settings)
    predictor.load_state_dict(case.weights())
    width, action_dim = predictor.embed.in_features, predictor.action_embed.in_features
    dynamics = TokenDynamics(width, action_dim, (side, side), width=24, depth=1, num_heads=2, normalize=False)
    dynamics.predictor = predictor
    latents = tensors["tokens"].unflatten(1, (settings["frames"], side * side))
    predicted = dynamics(latents, tensors["actions"], tensors["states"])
    torch.testing.assert_close(predicted.flatten(1, 2), tensors["output"], atol=1e-5, rtol=1e-5)
