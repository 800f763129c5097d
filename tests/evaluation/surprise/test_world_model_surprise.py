"""One-step surprise of world models: by actions or zeros, from the past alone, refused where states are needed."""

import numpy as np
import pytest
import torch

from tests.training.tiny_dot_world import dot_model
from vjepa.data.clips.batch import normalize_frames
from vjepa.data.clips.matched_pairs import WholeClip
from vjepa.evaluation.surprise.world_model_surprise import WorldModelSurprise
from vjepa.models.dynamics.causal import CausalDynamics
from vjepa.training import WorldModel

CPU = torch.device("cpu")
NUM_FRAMES = 7


def model_with(context: int = 1, **settings) -> WorldModel:
    torch.manual_seed(0)
    if context > 1 or settings:
        settings = {"width": 16, "depth": 1, "num_heads": 2, "context": context, **settings}
        model = dot_model(dynamics=lambda embed_dim, action_dim: CausalDynamics(embed_dim, action_dim, **settings))
        for parameter in model.dynamics.parameters():  # what begins at zero would hide that it is looked at
            torch.nn.init.normal_(parameter, std=0.2)
    else:
        model = dot_model()
    return model.eval().requires_grad_(False)


def clip(actions: bool = True, frame_step: int = 2) -> WholeClip:
    generator = np.random.default_rng(0)
    frames = torch.from_numpy(generator.integers(0, 256, (3, NUM_FRAMES, 16, 16), np.uint8))
    ids = frame_step * np.arange(NUM_FRAMES)
    return WholeClip(frames, ids, generator.normal(size=(20, 2)).astype(np.float32) if actions else None)


@pytest.mark.parametrize("context", [1, 3])
def test_errors_are_those_of_the_model_s_own_rollout(context):
    model, given = model_with(context), clip()
    surprise = WorldModelSurprise("a", model, 2.0, CPU)(given)["a"]
    latents = model.encoder(normalize_frames(given.frames.transpose(0, 1)))
    chunks = torch.from_numpy(given.actions).unfold(0, 2, 2).transpose(1, 2).flatten(1)  # two raw actions each
    for frame in range(context, NUM_FRAMES):
        past = slice(frame - context, frame)
        expected = model.imagine(latents[None, past], chunks[None, past])[0, 0]
        error = (expected - latents[frame]).square().mean() / 2
        torch.testing.assert_close(surprise.curve[0, frame], error, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(surprise.windows[0, frame - context], error, rtol=1e-4, atol=1e-6)
    assert surprise.curve[:, :context].isnan().all()


@pytest.mark.parametrize("context", [1, 3])
def test_no_later_frame_or_action_changes_a_prediction(context):
    scorer, given = WorldModelSurprise("a", model_with(context), 2.0, CPU), clip()
    before = scorer(given)["a"].curve
    for changed in range(context + 1, NUM_FRAMES):
        frames, actions = given.frames.clone(), given.actions.copy()
        frames[:, changed:] = 255 - frames[:, changed:]
        actions[2 * (changed - 1) :] += 1  # from the frame before on: the actions that lead to the changed one
        after = scorer(given._replace(frames=frames, actions=actions))["a"].curve
        assert torch.equal(before[:, context:changed], after[:, context:changed])
        assert not torch.equal(before[:, changed], after[:, changed])


def test_without_actions_they_are_zeros():
    scorer = WorldModelSurprise("a", model_with(), 2.0, CPU)
    zeros = clip()._replace(actions=np.zeros((20, 2), np.float32))
    assert torch.equal(scorer(clip(actions=False))["a"].windows, scorer(zeros)["a"].windows)
    assert not torch.equal(scorer(clip())["a"].windows, scorer(zeros)["a"].windows)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="need a state for each frame"):
        WorldModelSurprise("a", model_with(1, state_dim=2), 2.0, CPU)
    with pytest.raises(ValueError, match=r"its actions lie 3.0 frames apart .*; make them equal"):
        WorldModelSurprise("a", model_with(), 3.0, CPU)(clip())
    with pytest.raises(ValueError, match=r"its actions are .* numbers, and the world model takes"):
        WorldModelSurprise("a", model_with(), 2.0, CPU)(clip()._replace(actions=np.zeros((20, 3), np.float32)))
    with pytest.raises(ValueError, match="it has 7 frames, too few for a model that looks back at 7"):
        WorldModelSurprise("a", model_with(7), 2.0, CPU)(clip())
