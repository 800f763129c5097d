"""The last part of a world model's run: the dynamics alone, on latents of all frames that are encoded once.

Encoding frames is nearly all that a step costs. When the encoder has settled, the dynamics can see fifty times as many
windows, and longer ones, in the same time; a planner finds every place where they are wrong.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from vjepa.data.batch import normalize_frames
from vjepa.data.randomness import Purpose, generator_for
from vjepa.data.trajectory_store import EpisodeStore
from vjepa.training.schedule import Schedule


@dataclass(frozen=True)
class DynamicsPhase:
    """How long it is, and what a step sees.

    Args:
        steps: of the run, its last ones.
        num_windows: in a step.
        num_steps: blocks of a window; as far as plans look, or as episodes go.
        learning_rate: over the steps of the phase.
        seed: of the windows.
    """

    steps: int = 6000
    num_windows: int = 128
    num_steps: int = 16
    learning_rate: Schedule = field(default=Schedule(start=3e-4, peak=3e-3, end=1e-6, warmup_steps=300))
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.num_windows, self.num_steps) < 1:
            raise ValueError(
                f"steps ({self.steps}), num_windows ({self.num_windows}) and num_steps ({self.num_steps}) of the "
                f"dynamics phase must be at least 1"
            )


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
        self._frame_step = frame_step
        self._kept_every = store.kept_every
        kept = store.lengths[episodes[long_enough]] // store.kept_every + 1  # frames of each episode
        self._starts = kept - num_steps * (frame_step // store.kept_every)  # of windows of each: at every kept frame
        self._first_frames = np.cumsum(kept) - kept
        latents, actions = [], []
        for episode, count in zip(episodes[long_enough].tolist(), kept.tolist(), strict=True):
            times = store.kept_every * np.arange(count)
            frames = torch.from_numpy(store.frames(episode, times)).permute(0, 3, 1, 2)
            latents.append(torch.cat([_encoded(encoder, part.to(device)) for part in frames.split(256)]))
            done = torch.from_numpy(store.actions(episode, 0, int(times[-1])))
            actions.append(torch.cat((done, done.new_zeros(store.kept_every, done.shape[1]))))  # after the last frame
        self._latents = torch.cat(latents)  # (F, N, D)
        self._actions = torch.cat(actions).to(device)  # (F * kept_every, A) raw

    def windows(
        self,
        count: int,
        generator: np.random.Generator,
    ) -> tuple[Tensor, Tensor]:  # (count, K + 1, N, D) and (count, K, frame_step * A)
        """Windows at random places of random episodes."""
        episodes = generator.integers(len(self._starts), size=count)
        starts = generator.integers(self._starts[episodes])
        firsts = torch.from_numpy(self._first_frames[episodes] + starts).to(self._latents.device)[:, None]
        of_block = self._frame_step // self._kept_every  # kept frames
        frames = firsts + of_block * torch.arange(self.num_steps + 1, device=firsts.device)
        steps = firsts * self._kept_every + torch.arange(self.num_steps * self._frame_step, device=firsts.device)
        return self._latents[frames], self._actions[steps].flatten(1).unflatten(1, (self.num_steps, -1))


def windows_of_step(
    latents: LatentEpisodes, phase: DynamicsPhase, step: int
) -> tuple[Tensor, Tensor]:  # as of LatentEpisodes.windows
    """What a step of the phase sees: a function of the phase's seed and the step."""
    return latents.windows(phase.num_windows, generator_for(phase.seed, Purpose.WINDOW, step))


@torch.no_grad()
def _encoded(encoder: nn.Module, frames: Tensor) -> Tensor:  # (n, N, D)
    return encoder(normalize_frames(frames))
