"""Which states a rollout gives to its dynamics: true ones as long as there are any, then held ones or moved poses."""

import pytest
import torch
from torch import Tensor

from vjepa.data.clips.batch import normalize_frames
from vjepa.data.episodes.batch import EpisodeBatch
from vjepa.models.dynamics.causal import CausalDynamics
from vjepa.models.dynamics.pose import moved_pose
from vjepa.models.dynamics.residual import ResidualDynamics
from vjepa.models.dynamics.rollout import rollout
from vjepa.models.dynamics.token_dynamics import TokenDynamics
from vjepa.models.frame_encoder import ConvFrameEncoder, encode_windows
from vjepa.objectives.world import Rollout, TeacherForcing
from vjepa.training import WorldModel

B, D, KNOWN, STEPS = 2, 8, 2, 4  # actions after frames 0 .. 3; frames 2 .. 5 would be imagined


def dynamics(state_update="pose", action_dim=7, **settings) -> TokenDynamics:
    torch.manual_seed(0)
    shape = {"grid": (2, 1), "width": 24, "depth": 1, "num_heads": 2, "context": 8}
    return TokenDynamics(D, action_dim, state_update=state_update, **(shape | settings))


def latents_and_actions(action_dim: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(B, KNOWN, 2, D, generator=generator)
    actions = torch.rand(B, STEPS, action_dim, generator=generator) - 0.5
    return latents, actions, torch.rand(B, KNOWN, 7, generator=generator)


@torch.no_grad()
def given_in(rolling: TokenDynamics, known: int, states: Tensor) -> Tensor:  # (B, STEPS, S) in the last step
    latents, actions, _ = latents_and_actions(rolling.action_dim)
    given: list[Tensor] = []
    rolling.register_forward_pre_hook(lambda _, arguments: given.append(arguments[2]))
    rollout(rolling, latents[:, :known], actions, states)
    return given[-1]


@pytest.mark.parametrize("state_update", ["held", "pose"])
def test_states_of_known_frames_are_the_true_ones(state_update):
    _, _, states = latents_and_actions()
    torch.testing.assert_close(given_in(dynamics(state_update), KNOWN, states)[:, :KNOWN], states, rtol=0, atol=0)


def test_held_states_stay_what_they_were():
    _, _, states = latents_and_actions()
    given = given_in(dynamics("held"), KNOWN, states)
    torch.testing.assert_close(given[:, KNOWN:], states[:, -1:].expand(-1, STEPS - KNOWN, -1), rtol=0, atol=0)


def test_poses_move_with_each_action_that_is_done():
    _, actions, states = latents_and_actions()
    given = given_in(dynamics(), KNOWN, states)
    expected = states[:, -1]
    for step in range(KNOWN, STEPS):
        expected = moved_pose(expected, actions[:, step - 1])
        torch.testing.assert_close(given[:, step], expected)


def test_each_raw_action_of_a_block_moves_the_pose():
    _, actions, states = latents_and_actions(action_dim=14)
    given = given_in(dynamics(action_dim=14), 1, states[:, :1])
    halfway = moved_pose(states[:, 0], actions[:, 0, :7])
    torch.testing.assert_close(given[:, 1], moved_pose(halfway, actions[:, 0, 7:]))


def test_training_sees_the_true_states_of_frames_that_it_rolls_over():
    """As the released code does: what is known of a window's later frames is not made up."""
    states = torch.rand(B, STEPS + 1, 7)
    given = given_in(dynamics(), 1, states)
    torch.testing.assert_close(given, states[:, :STEPS], rtol=0, atol=0)


@torch.no_grad()
def test_the_first_imagined_frame_is_the_same_and_later_ones_are_not():
    latents, actions, states = latents_and_actions()
    held, moved = (rollout(dynamics(kind), latents, actions, states) for kind in ("held", "pose"))
    torch.testing.assert_close(held[:, 0], moved[:, 0], rtol=0, atol=0)
    assert (held[:, 1:] - moved[:, 1:]).abs().amax((0, 2, 3)).min() > 1e-4


def test_gradients_reach_actions_through_the_pose_too():
    latents, actions, states = latents_and_actions()
    rolling = dynamics()
    rolling.predictor.action_embed.requires_grad_(False).weight.zero_()  # the only way left is by the states
    actions.requires_grad_()
    rollout(rolling, latents, actions, states).square().mean().backward()
    touched = actions.grad.abs().sum((0, 2)) > 0
    assert touched.tolist() == [False, True, True, False]  # the last one leads to a frame that nothing follows


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"state_update": "guessed"}, "state_update 'guessed' must be one of held, pose"),
        (
            {"state_dim": 2},
            "state_update: pose needs states of 7 numbers .* not a state_dim of 2 and an action_dim of 7",
        ),
        ({"action_dim": 10}, "and an action_dim of 10; use state_update: held"),
    ],
)
def test_updates_that_can_not_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        dynamics(**settings)


def test_poses_need_actions_as_they_are():
    encoder = ConvFrameEncoder((16, 16), embed_dim=D, channels=8, num_keypoints=4, hidden_dim=32)
    parts = {"encoder": encoder, "dynamics": lambda *sizes: dynamics(grid=(1, 1)), "action_dim": 7, "frame_step": 1}
    with pytest.raises(ValueError, match=r"move states by actions in the data's units .*normalize_actions=false"):
        WorldModel(**parts)
    assert not WorldModel(**parts, normalize_actions=False).normalize_actions


def test_a_rollout_of_training_sees_as_many_frames_as_are_asked_for():
    encoder = ConvFrameEncoder((16, 16), embed_dim=D, channels=8, num_keypoints=4, hidden_dim=32)
    parts = {"encoder": encoder, "action_dim": 7, "frame_step": 1, "normalize_actions": False, "rollout_steps": 2}
    of_all, of_one = (
        WorldModel(dynamics=lambda *sizes: dynamics(grid=(1, 1)), rollout_context=frames, **parts).rollout_range(8)
        for frames in (None, 1)
    )
    assert (of_all, of_one) == ((6, 8), (1, 3))
    with pytest.raises(ValueError, match=r"rollout_context \(2\) must be from 1 to the dynamics' context \(1\)"):
        WorldModel(dynamics=ResidualDynamics, rollout_context=2, **parts)


def test_the_loss_is_that_of_the_released_training():
    """By its own loop: single steps over the clip; the first of them, fed back, with true actions and states."""
    torch.manual_seed(0)
    encoder = ConvFrameEncoder((16, 16), embed_dim=D, channels=8, num_keypoints=4, hidden_dim=32)
    terms = {"rollout": Rollout(exponent=1.0), "teacher_forcing": TeacherForcing(exponent=1.0)}
    settings = {"freeze_encoder": True, "normalize_actions": False, "terms": terms}
    predict = dynamics(grid=(1, 1), context=7)
    model = WorldModel(encoder, lambda *sizes: predict, 7, 1, rollout_steps=2, rollout_context=1, **settings)
    frames = torch.randint(0, 256, (B, 8, 3, 16, 16), dtype=torch.uint8)
    actions, states, numbers = torch.rand(B, 7, 7) - 0.5, torch.rand(B, 8, 7), torch.arange(B)
    with torch.no_grad():
        losses = model.step(EpisodeBatch(frames, actions, states, torch.zeros(B, 0), numbers, numbers, numbers)).losses
        clips = encode_windows(encoder, normalize_frames(frames))
        single = predict(clips[:, :-1], actions, states[:, :-1])
        fed_back = torch.cat((clips[:, :1], single[:, :1]), dim=1)
        second = predict(fed_back, actions[:, :2], states[:, :2])[:, -1:]
    of_rollout = (torch.cat((single[:, :1], second), dim=1) - clips[:, 1:3]).abs().mean()
    torch.testing.assert_close(losses["rollout"], of_rollout)
    torch.testing.assert_close(losses["loss"], of_rollout + (single - clips[:, 1:]).abs().mean())


def test_states_of_another_length_are_refused():
    causal = CausalDynamics(D, 4, width=16, depth=1, num_heads=2, state_dim=5)
    with pytest.raises(ValueError, match="states of 3 numbers don't fit dynamics with a state_dim of 5"):
        causal(torch.zeros(1, 2, 1, D), torch.zeros(1, 2, 4), torch.zeros(1, 2, 3))
