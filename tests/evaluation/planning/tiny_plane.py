"""An open square of 16 x 16 pixels to act in, and a model of it that is right about everything."""

from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from vjepa.envs.world import Tasks
from vjepa.planning.cost import DistanceToGoal, squared_difference
from vjepa.planning.limits import ActionLimit

SIZE = 16


class PlaneWorld:
    def __init__(self, tasks: Tasks):
        self._places = tasks.starts.copy()

    @property
    def states(self) -> np.ndarray:
        return self._places.copy()

    def step(self, actions: np.ndarray) -> None:
        moves = Plane.action_limit.bounded_array(np.asarray(actions, float))
        self._places = np.clip(self._places + moves, 2, SIZE - 2)

    def render(self) -> np.ndarray:
        middle = np.arange(SIZE) + 0.5
        x, y = (np.exp(-((middle - self._places[:, k : k + 1]) ** 2) / 2) for k in (0, 1))
        dot = y[:, :, None] * x[:, None, :]
        return np.round(250 * dot[..., None] * np.array([1.0, 0.5, 0.2])).astype(np.uint8)


class Plane:
    """A suite whose shortest paths are straight."""

    name = "plane"
    action_dim = 2
    state_dim = 2
    action_limit = ActionLimit(1.0, "norm")
    frame_size = (SIZE, SIZE)
    radii = (2.0, 1.0)
    unit = "px"

    def tasks(self, count: int, seed: int, split: str = "test") -> Tasks:
        generator = np.random.default_rng(seed)
        starts = generator.uniform(2, 5, (count, 2))
        goals = generator.uniform(10, 14, (count, 2))
        return Tasks(starts, goals, np.zeros((count, 0)), np.arange(count) + 100 * seed)

    def begin(self, tasks: Tasks) -> PlaneWorld:
        return PlaneWorld(tasks)

    def render_goals(self, tasks: Tasks) -> np.ndarray:
        return PlaneWorld(tasks._replace(starts=tasks.goals)).render()

    def distances(self, tasks: Tasks, states: np.ndarray) -> np.ndarray:
        return np.linalg.norm(states - tasks.goals, axis=-1)

    def shortest_paths(self, tasks: Tasks) -> np.ndarray:
        return np.linalg.norm(tasks.goals - tasks.starts, axis=-1)


class PerfectModel:
    """Its latent is the dot's place, read from the pixels; it looks back at `context` frames, and needs one."""

    frame_step = 2
    action_dim = 2
    frame_size = (SIZE, SIZE)

    def __init__(self, context: int = 1):
        self.dynamics = SimpleNamespace(context=context, needs_states=False)
        self.asked: list[tuple[Tensor, Tensor]] = []

    def encode_frames(self, frames: np.ndarray) -> Tensor:  # (B, 1, 2)
        weights = torch.from_numpy(frames[..., 0].astype(np.float64))
        middle = torch.arange(SIZE) + 0.5
        x, y = ((weights.sum(axis) * middle).sum(-1) / weights.sum((1, 2)) for axis in (1, 2))
        return torch.stack((x, y), dim=-1).float().unsqueeze(1)

    def distance_to(self, goal: Tensor) -> DistanceToGoal:
        return squared_difference(goal)

    def imagine(
        self,
        latents: Tensor,  # (B, C, 1, 2)
        actions: Tensor,  # (B, C - 1 + H, 4)
        states: Tensor | None = None,
    ) -> Tensor:  # (B, H, 1, 2)
        self.asked.append((latents, actions))
        moves = actions[:, latents.shape[1] - 1 :].unflatten(-1, (2, 2)).sum(-2)
        return latents[:, -1:] + moves.cumsum(1).unsqueeze(2)
