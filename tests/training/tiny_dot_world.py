"""A dot that actions move over 16 x 16 pixels: the smallest world that a world model can learn."""

from functools import partial
from pathlib import Path

import numpy as np

from tests.data.episodes.tiny_episodes import write_episodes
from vjepa.data.episodes.data_module import EpisodeDataModule
from vjepa.models.dynamics.residual import ResidualDynamics
from vjepa.models.frame_encoder import ConvFrameEncoder
from vjepa.objectives import VarianceCovariance
from vjepa.objectives.world import FrameRegularization, InverseDynamicsTerm, Rollout, Straightening, TimeSimilarity
from vjepa.training import Schedule, WorldModel

SIZE = (16, 16)


def write_dot_world(folder: Path, episodes: int = 8, steps: int = 24, seed: int = 0) -> Path:
    generator = np.random.default_rng(seed)
    frames, actions, states = [], [], []
    for _ in range(episodes):
        places, moves = [generator.uniform(3, 13, 2)], generator.normal(0, 0.7, (steps, 2))
        for move in moves:
            places.append(np.clip(places[-1] + move, 2, 14))
        middle = np.arange(16) + 0.5
        x, y = (np.exp(-((middle - np.array(places)[:, k : k + 1]) ** 2) / 3) for k in (0, 1))
        picture = np.round(20 + 220 * y[:, :, None] * x[:, None, :]).astype(np.uint8)
        frames.append(np.repeat(picture[..., None], 3, axis=-1))
        actions.append(moves.astype(np.float32))
        states.append(np.array(places, np.float32))
    write_episodes(folder, zip(frames, actions, states, strict=True))
    return folder


def dot_data(folder: Path, **settings) -> EpisodeDataModule:
    settings = {"num_steps": 4, "frame_step": 2, "global_batch_size": 8, "val_fraction": 0.25, **settings}
    return EpisodeDataModule(root=folder, **settings)


def dot_model(terms=None, **settings) -> WorldModel:
    """With these terms in place of its own of the same names, or beside them."""
    own = {
        "rollout": Rollout(),
        "time_similarity": TimeSimilarity(1.0),
        "straightening": Straightening(0.1),
        "inverse_dynamics": InverseDynamicsTerm(hidden_dim=32),
        "regularizer": FrameRegularization(VarianceCovariance(weight=4.0, invariance_weight=0.0)),
    }
    parts = {
        "encoder": ConvFrameEncoder(SIZE, embed_dim=8, channels=8, num_keypoints=4, hidden_dim=32),
        "dynamics": partial(ResidualDynamics, hidden_dim=32),
        "terms": {**own, **(terms or {})},
        "learning_rate": Schedule(peak=3e-3),
    }
    return WorldModel(**{**parts, "action_dim": 2, "frame_step": 2, **settings})
