"""A linear read-out of states from latents, for pictures. It does not train the model."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vjepa.envs.world import Suite, Tasks
from vjepa.evaluation.planning.ridge_regression import ridge_regression
from vjepa.training.world_model import WorldModel

FRAMES_PER_PASS = 256


class ReadOut(NamedTuple):
    """States as a linear function of latents, and its error on held-out frames."""

    weights: Float[Tensor, "N_D S"]
    latent_mean: Float[Tensor, " N_D"]
    state_mean: Float[Tensor, " S"]
    error: float  # mean distance, in the suite's unit

    def states(self, latents: Float[Tensor, "... N D"]) -> Float[np.ndarray, "... S"]:
        centred = latents.flatten(-2) - self.latent_mean
        return (centred @ self.weights + self.state_mean).numpy()


def fit_read_out(model: WorldModel, suite: Suite, split: str, seed: int, tasks: int = 400) -> ReadOut:
    """Ridge regression on the starts and goals of tasks; the last fifth of the tasks gives the error."""
    drawn = suite.tasks(tasks, seed, split)
    every_state = np.stack((drawn.starts, drawn.goals), axis=1).reshape(2 * tasks, -1)
    latents = latents_at(model, suite, drawn.rows(np.arange(tasks).repeat(2)), every_state).flatten(1)
    states = torch.from_numpy(every_state).float()
    fitted = len(latents) * 4 // 5
    x_mean, y_mean = latents[:fitted].mean(0), states[:fitted].mean(0)
    weights = ridge_regression((latents[:fitted] - x_mean).double(), (states[:fitted] - y_mean).double()).float()
    guessed = (latents[fitted:] - x_mean) @ weights + y_mean
    error = float(torch.linalg.vector_norm(guessed - states[fitted:], dim=1).mean())
    return ReadOut(weights, x_mean, y_mean, error)


def latents_at(
    model: WorldModel,
    suite: Suite,
    tasks: Tasks,  # R of them
    states: Float[np.ndarray, "R S"],
) -> Float[Tensor, "R N D"]:
    """Latents of a world in these states, in passes of bounded memory."""
    placed = tasks._replace(starts=states)
    firsts = range(0, len(states), FRAMES_PER_PASS)
    passes = (placed.rows(slice(first, first + FRAMES_PER_PASS)) for first in firsts)
    return torch.cat([model.encode_frames(suite.begin(part).render()) for part in passes])


def encoded(model: WorldModel, frames: UInt8[np.ndarray, "R H W 3"]) -> Float[Tensor, "R N D"]:
    """Latents of many frames, in passes of bounded memory."""
    parts = np.split(frames, range(FRAMES_PER_PASS, len(frames), FRAMES_PER_PASS))
    return torch.cat([model.encode_frames(part) for part in parts])
