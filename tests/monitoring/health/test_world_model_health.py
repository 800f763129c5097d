"""The watch over world models reads episodes that are not trained on, and changes nothing."""

from functools import partial

import numpy as np
import pytest
import torch

from tests.data.episodes.tiny_episodes import write_episodes
from tests.quiet_trainer import quiet_trainer
from tests.training.tiny_dot_world import dot_data, dot_model, write_dot_world
from vjepa.data.episodes.batch import gather_windows
from vjepa.models.dynamics.token_dynamics import TokenDynamics
from vjepa.monitoring import WorldModelHealth
from vjepa.monitoring.health import world_model_health as watched


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_dot_world(tmp_path_factory.mktemp("dots") / "episodes")


def fit(folder, tmp_path, *callbacks, steps: int = 2, val_fraction: float = 0.25, **settings):
    torch.manual_seed(0)
    model, data = dot_model(**settings), dot_data(folder, val_fraction=val_fraction)
    quiet_trainer(tmp_path, max_steps=steps, limit_val_batches=0, callbacks=list(callbacks)).fit(model, data)
    return model, data


def test_it_changes_no_run(folder, tmp_path):
    unwatched, _ = fit(folder, tmp_path, steps=4)
    state = torch.get_rng_state()
    seen, _ = fit(folder, tmp_path, WorldModelHealth(every_n_steps=1, num_windows=6), steps=4)
    torch.testing.assert_close(seen.state_dict(), unwatched.state_dict(), rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state)


def test_it_leaves_the_networks_in_their_modes(folder, tmp_path):
    modes = []

    class Noted(WorldModelHealth):
        def on_train_batch_end(self, trainer, module, *rest) -> None:
            super().on_train_batch_end(trainer, module, *rest)
            modes.append((module.training, module.dynamics.training, module.encoder.training))

    fit(folder, tmp_path, Noted(every_n_steps=1, num_windows=6), freeze_encoder=True, terms={"regularizer": None})
    assert modes == [(True, True, False)] * 2


@pytest.mark.parametrize("val_fraction", [0.25, 0.0])
def test_it_asks_of_episodes_for_validation_what_it_fits_on_those_for_training(
    folder, tmp_path, val_fraction, monkeypatch
):
    read: list[int] = []

    def noted(store, episodes, *rest):
        read.extend(episodes.tolist())
        return gather_windows(store, episodes, *rest)

    monkeypatch.setattr(watched, "gather_windows", noted)
    watch = WorldModelHealth(every_n_steps=0, num_windows=30)
    _, data = fit(folder, tmp_path, watch, val_fraction=val_fraction)
    train, val = data.split
    assert set(read) == {*train.tolist(), *val.tolist()}
    assert watch.judgement is not None


def test_actions_of_others_are_others_where_agents_walk_on_and_on(tmp_path):
    """Windows of one episode, side by side, would hold the same actions: any model would seem deaf."""
    frames, states = np.zeros((25, 16, 16, 3), np.uint8), np.zeros((25, 2), np.float32)
    directions = np.random.default_rng(0).normal(size=(8, 1, 2)).astype(np.float32)
    episodes = [(frames, direction.repeat(24, 0), states) for direction in directions]
    write_episodes(tmp_path / "episodes", episodes)
    data = dot_data(tmp_path / "episodes")
    windows = WorldModelHealth(num_windows=20)._windows(data, data.split[0], dot_model())
    apart = (windows.rolled - windows.rolled_by_others).flatten(1).abs().amax(1)
    assert apart.min() > 1e-3


def test_dynamics_that_need_states_and_a_camera_get_those_of_the_first_frame(folder, monkeypatch):
    shape = {"grid": (1, 1), "state_dim": 2, "width": 24, "depth": 1, "num_heads": 2, "extrinsics_dim": 3}
    dynamics = partial(TokenDynamics, use_extrinsics=True, **shape)
    model, watch, data = dot_model(dynamics=dynamics), WorldModelHealth(num_windows=6), dot_data(folder)

    def rolled(later: float, camera: float) -> torch.Tensor:
        def changed(*arguments):
            batch = gather_windows(*arguments)
            states = torch.cat((batch.states[:, :1], batch.states[:, 1:] + later), dim=1)
            return batch._replace(states=states, extrinsics=torch.full((len(states), 3), camera))

        monkeypatch.setattr(watched, "gather_windows", changed)
        with torch.no_grad():
            return watch._windows(data, data.split[0], model).rolled

    torch.testing.assert_close(rolled(later=0, camera=1.0), rolled(later=5, camera=1.0), rtol=0, atol=0)
    assert not torch.allclose(rolled(later=0, camera=1.0), rolled(later=0, camera=2.0))


@pytest.mark.parametrize("settings", [{"every_n_steps": -1}, {"num_windows": 2}])
def test_settings_that_read_nothing_are_refused(settings):
    with pytest.raises(ValueError, match="must not be negative, num_windows"):
        WorldModelHealth(**settings)
