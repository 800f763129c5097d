"""The last part of a world model's run: the dynamics, and a temporal distance, on latents that are encoded once.

Encoding frames is nearly all that a step costs. When the encoder has settled, the dynamics can see fifty times as many
windows, and longer ones, in the same time; a planner finds every place where they are wrong.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vjepa.data.clips.batch import normalize_frames
from vjepa.data.episodes.store import EpisodeStore
from vjepa.data.randomness import Purpose, generator_for
from vjepa.planning.controller import repeated
from vjepa.planning.limits import ActionLimit
from vjepa.training.schedule import Schedule

SOON = 0.1  # a goal that is from soon after lies 1 / SOON blocks ahead on average


@dataclass(frozen=True)
class DynamicsPhase:
    """How long it is, and what a step sees.

    Args:
        steps: of the run, its last ones.
        num_windows: in a step.
        num_steps: blocks of a window; as far as plans look, or as episodes go.
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
        counts = {name: getattr(self, name) for name in ("steps", "num_windows", "num_steps", "num_pairs")}
        for name, count in counts.items():
            if count < 1:
                raise ValueError(f"{name} ({count}) of the dynamics phase must be at least 1")


class Pairs(NamedTuple):
    """Latents and goals of the same episodes."""

    latents: Tensor  # (B, N, D)
    after: Tensor  # (B, N, D) one block later
    goals: Tensor  # (B, N, D)
    arrived: Tensor  # (B,) bool: the goal is the latent itself
    blocks: Tensor  # (B, K, frame_step * A) raw, others that might be done there


class LatentEpisodes:
    """Latents of all kept frames of episodes, with the actions between them; a window can start at any of them.

    Args:
        encoder: of frames, as it is now.
        store: episodes.
        episodes: numbers of those to encode.
        frame_step: raw steps of a block.
        num_steps: blocks of a window; shorter episodes are left out.
        device: that encodes and holds them.

    Raises:
        ValueError: no episode is long enough.
    """

    def __init__(
        self,
        encoder: nn.Module,
        store: EpisodeStore,
        episodes: np.ndarray,
        frame_step: int,
        num_steps: int,
        device: torch.device,
    ):
        blocks = store.lengths[episodes] // frame_step
        long_enough = blocks >= num_steps
        if not long_enough.any():
            raise ValueError(
                f"no episode has the {num_steps} blocks of {frame_step} raw steps that the dynamics phase wants, the "
                f"longest has {blocks.max(initial=0)}; give --model.dynamics_phase.num_steps={blocks.max(initial=1)}"
            )
        self.num_steps = num_steps
        self._kept_every = store.frame_interval
        self._of_block = frame_step // store.frame_interval  # kept frames
        kept = store.lengths[episodes[long_enough]] // store.frame_interval + 1  # frames of each episode
        self._kept = kept
        self._starts = kept - num_steps * self._of_block  # of windows of each: at every kept frame
        self._first_frames = np.cumsum(kept) - kept
        latents, actions = [], []
        for episode, count in zip(episodes[long_enough].tolist(), kept.tolist(), strict=True):
            times = store.frame_interval * np.arange(count)
            frames = torch.from_numpy(store.frames(episode, times)).permute(0, 3, 1, 2)
            latents.append(torch.cat([_encoded(encoder, part.to(device)) for part in frames.split(256)]))
            done = torch.from_numpy(store.actions(episode, 0, int(times[-1])))
            actions.append(
                torch.cat((done, done.new_zeros(store.frame_interval, done.shape[1])))
            )  # after the last frame
        self.latents = torch.cat(latents)  # (F, N, D)
        self._actions = torch.cat(actions).to(device)  # (F * kept_every, A) raw

    def windows(
        self,
        count: int,
        generator: np.random.Generator,
    ) -> tuple[Tensor, Tensor]:  # (count, K + 1, N, D) and (count, K, frame_step * A)
        """Windows at random places of random episodes."""
        firsts = self._random_frames(self._starts, count, generator)
        frames = firsts[:, None] + self._of_block * torch.arange(self.num_steps + 1, device=firsts.device)
        return self.latents[frames], self._blocks_after(firsts, self.num_steps)

    def pairs(
        self,
        count: int,
        num_blocks: int,
        limit: ActionLimit | None,
        generator: np.random.Generator,
    ) -> Pairs:
        """Random latents with goals, of which half are from soon after, and half from anywhere in the episode.

        The other blocks are one action over and over, mostly at the limit, as those of the fastest way are; where the
        limit is unknown they are what was done elsewhere.
        """
        episodes = generator.integers(len(self._kept), size=count)
        kept = self._kept[episodes]
        now = generator.integers(kept - self._of_block)
        soon = np.minimum(now + self._of_block * generator.geometric(SOON, size=count), kept - 1)
        goals = np.where(generator.random(count) < 0.5, soon, generator.integers(kept))
        frames = np.stack((now, now + self._of_block, goals)) + self._first_frames[episodes]
        latents, after, aims = self.latents[torch.from_numpy(frames).to(self.latents.device)].unbind(0)
        arrived = torch.from_numpy(now == goals).to(latents.device)
        if limit is None:
            elsewhere = self._random_frames(self._kept - self._of_block, count * num_blocks, generator)
            blocks = self._blocks_after(elsewhere, 1)
        else:
            anyhow = 2 * limit.size * generator.standard_normal((count * num_blocks, self._actions.shape[1]))
            blocks = repeated(torch.from_numpy(limit.bounded_array(anyhow)), self._of_block * self._kept_every)
        blocks = blocks.view(count, num_blocks, -1).to(self._actions)
        return Pairs(latents, after, aims, arrived, blocks)

    def _random_frames(
        self,
        choices: np.ndarray,  # (E,) how many of each episode's first frames are meant
        count: int,
        generator: np.random.Generator,
    ) -> Tensor:  # (count,)
        episodes = generator.integers(len(choices), size=count)
        chosen = self._first_frames[episodes] + generator.integers(choices[episodes])
        return torch.from_numpy(chosen).to(self.latents.device)

    def _blocks_after(
        self,
        frames: Tensor,  # (B,)
        count: int,
    ) -> Tensor:  # (B, count, frame_step * A)
        length = count * self._of_block * self._kept_every
        steps = frames[:, None] * self._kept_every + torch.arange(length, device=frames.device)
        return self._actions[steps].flatten(1).unflatten(1, (count, -1))


def windows_of_step(
    latents: LatentEpisodes, phase: DynamicsPhase, step: int
) -> tuple[Tensor, Tensor]:  # as of LatentEpisodes.windows
    """What a step of the phase sees: a function of the phase's seed and the step."""
    return latents.windows(phase.num_windows, generator_for(phase.seed, Purpose.WINDOW, step))


def pairs_of_step(
    latents: LatentEpisodes, phase: DynamicsPhase, num_blocks: int, limit: ActionLimit | None, step: int
) -> Pairs:
    """As `windows_of_step`, for the temporal distance."""
    return latents.pairs(phase.num_pairs, num_blocks, limit, generator_for(phase.seed, Purpose.PAIR, step))


@torch.no_grad()
def _encoded(encoder: nn.Module, frames: Tensor) -> Tensor:  # (n, N, D)
    return encoder(normalize_frames(frames))
