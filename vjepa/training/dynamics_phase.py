"""The last part of a world model's run: dynamics and temporal distance are trained on latents that are encoded once.

Encoding frames takes nearly all of a step's time. Once the encoder has settled, the dynamics can be trained on fifty
times as many and longer windows in the same time; a planner exploits every error that they have left.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from vjepa.data.clips.batch import normalize_frames
from vjepa.data.episodes.training_episodes import TrainingEpisodes
from vjepa.data.randomness import Purpose, generator_for
from vjepa.models.dynamics.rollout import Dynamics, rollout
from vjepa.objectives.world import TemporalDistance
from vjepa.objectives.world.rollout import LatentDistance
from vjepa.planning.controller import repeated
from vjepa.planning.limits import ActionLimit
from vjepa.training.action_space import ActionSpace
from vjepa.training.schedule import Schedule

NEAR = 0.1  # near goals lie 1 / NEAR chunks ahead on average


@dataclass(frozen=True)
class DynamicsPhase:
    """Length and batches of the phase.

    Args:
        steps: of the run, its last ones.
        num_windows: in a step.
        num_steps: action chunks of a window: as many as plans or episodes have.
        num_pairs: of a latent and a goal, for the temporal distance of a model that has one.
        learning_rate: over the steps of the phase.
        seed: of the windows and pairs.
    """

    steps: int = 6000
    num_windows: int = 128
    num_steps: int = 16
    num_pairs: int = 512
    learning_rate: Schedule = field(default=Schedule(start=3e-4, peak=3e-3, end=1e-6, warmup_steps=300))
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "num_windows", "num_steps", "num_pairs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} ({getattr(self, name)}) of the dynamics phase must be at least 1")

    def windows(
        self, latents: "LatentEpisodes", step: int
    ) -> tuple[Float[Tensor, "B frames N D"], Float[Tensor, "B K chunk_dim"]]:
        """The windows of a step, a function of the seed and the step."""
        return latents.windows(self.num_windows, generator_for(self.seed, Purpose.WINDOW, step))

    def pairs(self, latents: "LatentEpisodes", num_chunks: int, limit: ActionLimit | None, step: int) -> "Pairs":
        """The pairs of a step, as `windows`."""
        return latents.pairs(self.num_pairs, num_chunks, limit, generator_for(self.seed, Purpose.PAIR, step))


class Pairs(NamedTuple):
    """Latents and goals of the same episodes."""

    latents: Float[Tensor, "B N D"]
    next_latents: Float[Tensor, "B N D"]  # one chunk later
    goals: Float[Tensor, "B N D"]
    at_goal: Bool[Tensor, " B"]  # the goal is the latent itself
    chunks: Float[Tensor, "B K chunk_dim"]  # raw, others that are possible there


def phase_losses(
    phase: DynamicsPhase,
    step: int,
    latents: "LatentEpisodes",
    dynamics: Dynamics,
    actions: ActionSpace,
    error: LatentDistance,
    distance: TemporalDistance | None,
) -> dict[str, Float[Tensor, ""]]:
    """Losses of a step of the phase: of rollouts, and of the temporal distance where there is one."""
    windows, chunks = phase.windows(latents, step)
    observed = min(dynamics.context, phase.num_steps)
    predicted = rollout(dynamics, windows[:, :observed], actions.normalized(chunks))
    rollout_error = error.distance_between(predicted, windows[:, observed:])
    if distance is None:
        return {"loss": rollout_error, "rollout": rollout_error}
    pairs = phase.pairs(latents, distance.imagined_chunks, actions.limit, step)
    next_latents = pairs.next_latents.unsqueeze(1)
    if distance.imagined_chunks:
        now = pairs.latents.repeat_interleave(distance.imagined_chunks, dim=0).unsqueeze(1)
        with torch.no_grad():
            imagined = rollout(dynamics, now, actions.normalized(pairs.chunks.flatten(0, 1).unsqueeze(1)))
        next_latents = torch.cat((next_latents, imagined.squeeze(1).unflatten(0, pairs.chunks.shape[:2])), dim=1)
    distance_error = distance.loss(pairs.latents, next_latents, pairs.goals, pairs.at_goal)
    loss = rollout_error + distance.weight * distance_error
    return {"loss": loss, "rollout": rollout_error, "temporal_distance": distance_error}


class LatentEpisodes:
    """Latents of all stored frames of episodes, with the actions between them; windows start at any of them.

    Args:
        encoder: of frames, as it is now.
        episodes: to encode; those shorter than a window are left out.
        frame_step: raw steps of a chunk.
        num_steps: chunks of a window.
        device: encodes and holds them.

    Raises:
        ValueError: no episode is long enough.
    """

    def __init__(
        self, encoder: nn.Module, episodes: TrainingEpisodes, frame_step: int, num_steps: int, device: torch.device
    ):
        store, numbers = episodes
        num_chunks = store.lengths[numbers] // frame_step
        long_enough = num_chunks >= num_steps
        if not long_enough.any():
            longest = num_chunks.max(initial=0)
            raise ValueError(
                f"no episode has the {num_steps} chunks of {frame_step} raw steps that the dynamics phase needs, the "
                f"longest has {longest}; give --model.dynamics_phase.num_steps={max(longest, 1)}"
            )
        self.num_steps = num_steps
        self._interval = store.frame_interval
        self._chunk = frame_step // store.frame_interval  # stored frames
        self._num_frames = store.lengths[numbers[long_enough]] // store.frame_interval + 1  # of each episode
        self._num_starts = self._num_frames - num_steps * self._chunk  # of windows of each episode
        self._first_frames = np.cumsum(self._num_frames) - self._num_frames
        latents, actions = [], []
        for number, count in zip(numbers[long_enough].tolist(), self._num_frames.tolist(), strict=True):
            times = store.frame_interval * np.arange(count)
            frames = torch.from_numpy(episodes.frames(number, times)).permute(0, 3, 1, 2)
            latents.append(torch.cat([_encoded(encoder, part.to(device)) for part in frames.split(256)]))
            recorded = torch.from_numpy(store.actions(number, 0, int(times[-1])))
            last = recorded.new_zeros(store.frame_interval, recorded.shape[1])  # after the last frame
            actions.append(torch.cat((recorded, last)))
        self.latents = torch.cat(latents)  # (F, N, D)
        self._actions = torch.cat(actions).to(device)  # (F * frame_interval, A) raw

    def windows(
        self, count: int, generator: np.random.Generator
    ) -> tuple[Float[Tensor, "B frames N D"], Float[Tensor, "B K chunk_dim"]]:
        """Latents and chunks from random frames of random episodes on."""
        starts = self._random_frames(self._num_starts, count, generator)
        frames = starts[:, None] + self._chunk * torch.arange(self.num_steps + 1, device=starts.device)
        return self.latents[frames], self._chunks_from(starts, self.num_steps)

    def pairs(self, count: int, num_chunks: int, limit: ActionLimit | None, generator: np.random.Generator) -> Pairs:
        """Random latents with goals, half of them near ones and half from anywhere in the episode.

        The other chunks repeat one action, mostly at the limit, as the chunks of the shortest path do; where the limit
        is unknown they are recorded ones from elsewhere.
        """
        episodes = generator.integers(len(self._num_frames), size=count)
        num_frames = self._num_frames[episodes]
        now = generator.integers(num_frames - self._chunk)
        near = np.minimum(now + self._chunk * generator.geometric(NEAR, size=count), num_frames - 1)
        goals = np.where(generator.random(count) < 0.5, near, generator.integers(num_frames))
        frames = np.stack((now, now + self._chunk, goals)) + self._first_frames[episodes]
        latents, next_latents, goal_latents = self.latents[torch.from_numpy(frames).to(self.latents.device)].unbind(0)
        at_goal = torch.from_numpy(now == goals).to(latents.device)
        if limit is None:
            elsewhere = self._random_frames(self._num_frames - self._chunk, count * num_chunks, generator)
            chunks = self._chunks_from(elsewhere, 1)
        else:
            drawn = 2 * limit.size * generator.standard_normal((count * num_chunks, self._actions.shape[1]))
            chunks = repeated(torch.from_numpy(limit.bounded_array(drawn)), self._chunk * self._interval)
        chunks = chunks.view(count, num_chunks, -1).to(self._actions)
        return Pairs(latents, next_latents, goal_latents, at_goal, chunks)

    def _random_frames(
        self,
        choices: Int64[np.ndarray, " E"],  # first frames of each episode to choose from
        count: int,
        generator: np.random.Generator,
    ) -> Int64[Tensor, " count"]:
        episodes = generator.integers(len(choices), size=count)
        chosen = self._first_frames[episodes] + generator.integers(choices[episodes])
        return torch.from_numpy(chosen).to(self.latents.device)

    def _chunks_from(self, frames: Int64[Tensor, " B"], count: int) -> Float[Tensor, "B count chunk_dim"]:
        length = count * self._chunk * self._interval
        steps = frames[:, None] * self._interval + torch.arange(length, device=frames.device)
        return self._actions[steps].flatten(1).unflatten(1, (count, -1))


@torch.no_grad()
def _encoded(encoder: nn.Module, frames: UInt8[Tensor, "M 3 H W"]) -> Float[Tensor, "M N D"]:
    return encoder(normalize_frames(frames))
