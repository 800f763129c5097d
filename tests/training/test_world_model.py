"""What a world model is trained on, and what it refuses."""

from functools import partial

import numpy as np
import pytest
import torch

from tests.quiet_trainer import quiet_trainer
from tests.training.tiny_dot_world import SIZE, dot_data, dot_model, write_dot_world
from vjepa.data.clips.batch import normalize_frames
from vjepa.data.episodes.batch import EpisodeBatch, gather_windows
from vjepa.models.dynamics import ResidualDynamics, rollout
from vjepa.models.frame_encoder import ConvFrameEncoder
from vjepa.objectives import BarlowTwins, SIGReg, VarianceCovariance
from vjepa.objectives.world import (
    EpisodeContrast,
    EpisodeRegularization,
    FramePrediction,
    FrameRegularization,
    InverseDynamicsTerm,
    Rollout,
    TeacherForcing,
    TemporalDistance,
)
from vjepa.objectives.world.regularization import without_episode_means
from vjepa.planning.limits import ActionLimit
from vjepa.training import AverageLatents, DetachedLatents, WorldModel
from vjepa.training.dynamics_phase import DynamicsPhase, LatentEpisodes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_dot_world(tmp_path_factory.mktemp("dots") / "episodes")


@pytest.fixture
def batch(folder) -> EpisodeBatch:
    store = dot_data(folder).store
    return gather_windows(store, np.array([0, 0, 1, 1, 2, 2]), np.array([0, 4, 2, 8, 0, 6]), 4, 2)


def trained(folder, tmp_path, steps: int = 20, **settings) -> WorldModel:
    torch.manual_seed(0)
    model = dot_model(**settings)
    quiet_trainer(tmp_path, max_steps=steps, limit_val_batches=0).fit(model, dot_data(folder))
    return model


@pytest.mark.slow
def test_a_world_model_learns_what_actions_do(tmp_path, batch):
    more = write_dot_world(tmp_path / "episodes", episodes=24)
    torch.manual_seed(0)
    model = dot_model({"rollout": Rollout(4.0)})
    quiet_trainer(tmp_path, max_steps=150, limit_val_batches=0).fit(model, dot_data(more, global_batch_size=24))
    latents = model.encode_frames(batch.frames.flatten(0, 1)).unflatten(0, batch.frames.shape[:2])
    with torch.no_grad():
        imagined = model.imagine(latents[:, 0], batch.actions)
    error, still = ((guess - latents[:, 1:]).square().mean() for guess in (imagined, latents[:, :1]))
    assert error < 0.5 * still  # where nothing moves, it would be as large


def test_each_term_has_a_name_of_its_own(batch):
    names = set(dot_model({"teacher_forcing": TeacherForcing()}).step(batch).losses)
    regularizer = {"regularizer_invariance", "regularizer_variance", "regularizer_covariance"}
    shape = {"time_similarity", "straightening", "inverse_dynamics"}
    assert names == {"loss", "rollout", "teacher_forcing", *shape, *regularizer}


@pytest.mark.parametrize("regularizer", [None, VarianceCovariance(), BarlowTwins(), SIGReg(num_directions=8)])
def test_any_regularizer_can_stand_in(batch, regularizer):
    term = None if regularizer is None else FrameRegularization(regularizer)
    assert dot_model({"regularizer": term}).step(batch).losses["loss"].isfinite()


def test_the_loss_is_the_weighted_sum_of_its_terms(batch):
    terms = {"regularizer": None, "rollout": Rollout(3.0), "inverse_dynamics": InverseDynamicsTerm(0.5)}
    losses = dot_model(terms).step(batch).losses
    expected = (
        3 * losses["rollout"]
        + losses["time_similarity"]
        + 0.1 * losses["straightening"]
        + 0.5 * losses["inverse_dynamics"]
    )
    torch.testing.assert_close(losses["loss"], expected)


def test_a_term_without_weight_is_logged_and_not_minimised(batch):
    model = dot_model({"regularizer": None, "inverse_dynamics": InverseDynamicsTerm(0.0)})
    losses = model.step(batch).losses
    losses["loss"].backward()
    assert losses["inverse_dynamics"] > 0
    assert all(weight.grad is None for weight in model.objective["inverse_dynamics"].parameters())
    assert any(weight.grad is not None for weight in model.dynamics.parameters())


def test_one_term_makes_the_twin_that_predicts_pixels(batch):
    terms = {"frames": FramePrediction(), "inverse_dynamics": InverseDynamicsTerm()}
    losses = dot_model({**dict.fromkeys(("rollout", "time_similarity", "straightening", "regularizer")), **terms})
    assert set(losses.step(batch).losses) == {"loss", "reconstruction", "rollout", "inverse_dynamics"}


@pytest.mark.parametrize(("settings", "stepped"), [({}, 4 + 3 + 2 + 1), ({"rollout_steps": 2}, 4 + 3)])
def test_one_frame_dynamics_predict_each_latent_once(batch, monkeypatch, settings, stepped):
    frames = []  # that were stepped from, in each window
    step = ResidualDynamics.step

    def counted(self, latents, conditions):
        frames.append(latents[0, ..., 0, 0].numel())
        return step(self, latents, conditions)

    monkeypatch.setattr(ResidualDynamics, "step", counted)
    dot_model(**settings).step(batch)
    assert sum(frames) == stepped


@pytest.mark.parametrize("settings", [{}, {"rollout_steps": 2}])
def test_predictions_are_the_rollout_from_the_first_frame(batch, settings):
    torch.manual_seed(0)
    model = dot_model(**settings)
    step = model.step(batch)
    alone = rollout(model.dynamics, step.latents[:, :1], step.actions[:, : step.predictions.shape[1]])
    torch.testing.assert_close(step.predictions, alone)
    shared, twice = ((part.square().sum(), *model.dynamics.parameters()) for part in (step.predictions, alone))
    gradients = [torch.autograd.grad(loss, weights, retain_graph=True) for loss, *weights in (shared, twice)]
    torch.testing.assert_close(*gradients)


def test_no_gradient_reaches_detached_targets(batch):
    torch.manual_seed(0)
    own, detached = dot_model(), dot_model(targets=DetachedLatents())
    assert own.step(batch).targets.requires_grad
    step = detached.step(batch)
    assert not step.targets.requires_grad
    torch.testing.assert_close(step.targets, step.latents, rtol=0, atol=0)


def test_the_average_follows_the_encoder(folder, tmp_path):
    model = trained(folder, tmp_path, steps=3, targets=AverageLatents(), terms={"regularizer": None})
    pairs = zip(model.targets.encoder.parameters(), model.encoder.parameters(), strict=True)
    gaps = [float((average - own).detach().abs().max()) for average, own in pairs]
    assert 0 < max(gaps) < 0.1
    assert not any(parameter.requires_grad for parameter in model.targets.encoder.parameters())


def test_a_frozen_encoder_stays_as_it_is(folder, tmp_path):
    torch.manual_seed(0)
    before = [parameter.detach().clone() for parameter in dot_model().encoder.parameters()]
    model = trained(folder, tmp_path, steps=3, freeze_encoder=True, terms={"regularizer": None})
    for old, new in zip(before, model.encoder.parameters(), strict=True):
        torch.testing.assert_close(old, new, rtol=0, atol=0)


def test_a_checkpoint_from_before_the_data_was_renamed_resumes_in_the_order(folder, tmp_path):
    trainer = quiet_trainer(tmp_path, max_steps=3, limit_val_batches=0)
    trainer.fit(dot_model(), dot_data(folder))
    trainer.save_checkpoint(tmp_path / "new.ckpt")
    content = torch.load(tmp_path / "new.ckpt", weights_only=True)
    content["TrajectoryDataModule"] = content.pop("EpisodeDataModule")
    torch.save(content, tmp_path / "old.ckpt")
    data = dot_data(folder)
    resumed = quiet_trainer(tmp_path, max_steps=3, limit_val_batches=0)
    resumed.fit(dot_model(), data, ckpt_path=str(tmp_path / "old.ckpt"))
    assert data.state_dict() == content["TrajectoryDataModule"]
    assert data.cursor.position == 3 * data.global_batch_size


def test_latents_less_the_mean_of_their_episode():
    latents = torch.tensor([[1.0, 3.0], [5.0, 7.0], [10.0, 20.0]]).view(3, 2, 1, 1)
    centred = without_episode_means(latents, torch.tensor([7, 7, 4]))
    torch.testing.assert_close(centred.flatten(1), torch.tensor([[-3.0, -1.0], [1.0, 3.0], [-5.0, 5.0]]))


def test_static_and_dynamic_features_have_terms_of_their_own(batch):
    def gradients(**terms) -> torch.Tensor:
        torch.manual_seed(0)
        others = dict.fromkeys(("time_similarity", "straightening", "inverse_dynamics", "regularizer"))
        encoder = ConvFrameEncoder(SIZE, embed_dim=8, static_dim=3, channels=8, num_keypoints=4, hidden_dim=32)
        model = dot_model({**others, **terms}, encoder=encoder)
        step = model.step(batch)
        (name,) = terms
        value = model.objective[name](step)
        assert all(part in step.losses for part in value.parts)
        return torch.autograd.grad(value.loss, step.latents)[0].abs().amax((0, 1, 2))

    contrast = gradients(episode_contrast=EpisodeContrast(hidden_dim=16, output_dim=8))
    spread = gradients(episode_regularizer=EpisodeRegularization(VarianceCovariance()))
    assert (contrast[:5] == 0).all() and (contrast[5:] > 0).all()
    assert (spread[:5] > 0).all() and (spread[5:] == 0).all()


def test_the_dynamics_phase_trains_the_dynamics_alone(folder, tmp_path):
    phase = DynamicsPhase(steps=30, num_windows=16, num_steps=6)
    with_phase = trained(folder, tmp_path, steps=40, dynamics_phase=phase)
    assert with_phase.latent_episodes is not None
    latents, actions = phase.windows(with_phase.latent_episodes, 0)
    assert latents.shape == (16, 7, 1, 8)
    assert actions.shape == (16, 6, 4)
    # What it encoded once is what the encoder still makes of the frames.
    data = dot_data(folder)
    again = LatentEpisodes(with_phase.encoder, data.training_episodes, 2, 6, torch.device("cpu"))
    torch.testing.assert_close(phase.windows(again, 0)[0], latents, rtol=0, atol=0)


def test_windows_of_the_dynamics_phase_are_a_function_of_seed_and_step(folder):
    data, phase = dot_data(folder), DynamicsPhase(num_windows=4, num_steps=6)
    episodes = LatentEpisodes(dot_model().encoder, data.training_episodes, 2, 6, torch.device("cpu"))
    first, second, other = (phase.windows(episodes, step)[0] for step in (5, 5, 6))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert not torch.equal(first, other)


def test_pairs_are_of_one_episode_a_chunk_apart_and_a_function_of_seed_and_step(folder):
    data, phase = dot_data(folder), DynamicsPhase(num_pairs=300, num_steps=6)
    episodes = LatentEpisodes(dot_model().encoder, data.training_episodes, 2, 6, torch.device("cpu"))
    pairs = phase.pairs(episodes, 3, None, 5)
    again, other = (phase.pairs(episodes, 3, None, step) for step in (5, 6))
    for part, same, another in zip(pairs, again, other, strict=True):
        torch.testing.assert_close(part, same, rtol=0, atol=0)
        assert not torch.equal(part, another)
    assert pairs.chunks.shape == (300, 3, 4)
    length = int(data.store.lengths[0])  # of every episode here
    now, after, goals = (
        torch.cdist(part.flatten(1), episodes.latents.flatten(1)).argmin(1).numpy() for part in pairs[:3]
    )
    assert (after - now == 2).all()
    assert (now // (length + 1) == goals // (length + 1)).all()
    assert ((now == goals) == pairs.at_goal.numpy()).all()
    assert (goals < now).any() and (goals > now).any() and pairs.at_goal.any()


@pytest.mark.parametrize("kind", ["norm", "box"])
def test_other_chunks_repeat_one_action_within_the_limit(folder, kind):
    data, phase = dot_data(folder), DynamicsPhase(num_pairs=100, num_steps=6)
    episodes = LatentEpisodes(dot_model().encoder, data.training_episodes, 2, 6, torch.device("cpu"))
    chunks = phase.pairs(episodes, 3, ActionLimit(0.5, kind), 5).chunks
    assert chunks.shape == (100, 3, 4)
    torch.testing.assert_close(chunks[..., :2], chunks[..., 2:], rtol=0, atol=0)
    size = chunks[..., :2].norm(dim=-1) if kind == "norm" else chunks.abs().amax(-1)
    assert size.max() <= 0.5 + 1e-6
    assert (size > 0.49).float().mean() > 0.7


@pytest.mark.slow
def test_a_temporal_distance_is_learned_in_the_phase_and_is_the_planning_cost(folder, tmp_path):
    phase = DynamicsPhase(steps=30, num_windows=16, num_steps=6)
    before, model = (
        dot_model(temporal_distance=partial(TemporalDistance, hidden_dim=16), dynamics_phase=phase) for _ in range(2)
    )
    model.load_state_dict(before.state_dict())
    quiet_trainer(tmp_path, max_steps=40).fit(model, dot_data(folder))
    assert model.temporal_distance is not None and before.temporal_distance is not None
    assert not torch.equal(model.temporal_distance.mean, before.temporal_distance.mean)
    for network in ("network", "target_network"):
        old, new = (next(getattr(each.temporal_distance, network).parameters()) for each in (before, model))
        assert not torch.equal(old, new)
    latents = model.encode_frames(dot_data(folder).store.frames(0, np.arange(9)))
    with torch.no_grad():
        along = model.distance_to(latents[-1])(latents[None])[0]
        torch.testing.assert_close(along, model.temporal_distance(latents, latents[-1:].expand(9, -1, -1)))
    assert along.argmin() == 8


def test_without_a_temporal_distance_the_planning_cost_is_the_difference_of_latents():
    latents = torch.randn(2, 3, 1, 8)
    distance = dot_model().distance_to(torch.zeros(1, 8))
    torch.testing.assert_close(distance(latents), latents.square().mean((2, 3)))


def test_imagining_is_what_training_rolled_out(batch):
    model = dot_model()
    latents = model.encode_frames(batch.frames[:, 0])
    imagined = model.imagine(latents, batch.actions)
    step = latents
    for chunk in range(batch.actions.shape[1]):
        step = model.dynamics(step[:, None], model.actions.normalized(batch.actions[:, chunk : chunk + 1]))[:, 0]
        torch.testing.assert_close(imagined[:, chunk], step)


def test_the_limit_of_actions_comes_with_the_data(tmp_path):
    model = dot_model()
    assert model.action_limit is None
    model.actions.set_limit(ActionLimit(2.45, "norm"))
    assert (model.action_limit.size, model.action_limit.kind) == (pytest.approx(2.45), "norm")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"action_dim": 0}, r"action_dim \(0\) and frame_step \(2\) must be at least 1"),
        ({"rollout_steps": 0}, r"rollout_steps \(0\) must be at least 1"),
        ({"rollout_context": 2}, r"rollout_context \(2\) must be from 1 to the dynamics' context \(1\)"),
        ({"terms": {"rollout": None, "frames": FramePrediction(1.0, 0.0)}}, "nothing would train the dynamics"),
        ({"terms": {"rollout": Rollout(0.0)}}, "nothing would train the dynamics"),
        ({"terms": {"contrast": EpisodeContrast(static_dim=8)}}, r"static_dim \(8\) must be from 0 to below"),
        ({"terms": {"frames": FramePrediction()}, "freeze_encoder": True}, "trains the encoder by decoded frames"),
        ({"terms": {"frames": FramePrediction()}, "targets": AverageLatents()}, "leave out freeze_encoder and Average"),
        ({"temporal_distance": TemporalDistance}, "is learned in the dynamics phase, and there is none; give"),
    ],
)
def test_parts_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        dot_model(**settings)


def test_networks_take_their_sizes_from_the_encoder_and_the_action_chunk():
    phase = DynamicsPhase()
    model = dot_model(action_dim=3, frame_step=5, dynamics_phase=phase, temporal_distance=TemporalDistance)
    sizes = {
        (part.embed_dim, part.action_dim) for part in (model.dynamics, model.objective["inverse_dynamics"].network)
    }
    assert sizes == {(8, 15)}
    assert model.temporal_distance.embed_dim == 8


def test_actions_and_frames_of_another_shape_are_refused():
    model = dot_model()
    with pytest.raises(ValueError, match="an action chunk of 6 numbers does not fit this model"):
        model.imagine(torch.zeros(1, 1, 8), torch.zeros(1, 3, 6))
    with pytest.raises(ValueError, match="frames of 20x16 pixels do not fit this model, which takes 16x16"):
        model.encode_frames(np.zeros((1, 20, 16, 3), np.uint8))
    assert model.frame_size == SIZE


def test_data_of_other_actions_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="the model's frame_step is 2, the data's is 3"):
        quiet_trainer(tmp_path, max_steps=1).fit(dot_model(), dot_data(folder, frame_step=3))


def test_windows_of_the_dynamics_phase_begin_at_every_stored_frame(folder):
    data, model = dot_data(folder), dot_model()
    train = data.split[0][:1]
    training = data.training_episodes._replace(numbers=train)
    episodes = LatentEpisodes(model.encoder, training, 2, 3, torch.device("cpu"))
    latents, actions = episodes.windows(200, np.random.default_rng(0))
    length = int(data.store.lengths[train[0]])
    frames = torch.from_numpy(data.store.frames(int(train[0]), np.arange(length + 1))).permute(0, 3, 1, 2)
    with torch.no_grad():
        seen = model.encoder(normalize_frames(frames))
    starts = torch.cdist(latents[:, 0].flatten(1), seen.flatten(1)).argmin(1)
    assert set(starts.tolist()) == set(range(length - 2 * 3 + 1))
    torch.testing.assert_close(latents, seen[starts[:, None] + 2 * torch.arange(4)])
    done = torch.from_numpy(data.store.actions(int(train[0]), 0, length))
    torch.testing.assert_close(actions, done[starts[:, None] + torch.arange(6)].reshape(200, 3, -1))


def test_a_dynamics_phase_longer_than_episodes_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match=r"the longest has 12; give --model.dynamics_phase.num_steps=12"):
        trained(folder, tmp_path, steps=2, dynamics_phase=DynamicsPhase(steps=1, num_steps=30))
