"""A baseline: goal-conditioned behaviour cloning on the data and latents of the world model.

Whatever an episode shows later is a goal that its actions reach (hindsight; 1707.01495, 1906.05838). A model that is
worth its rollouts must beat this baseline, which imagines nothing.
"""

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vjepa.data.episodes.data_module import EpisodeDataModule
from vjepa.data.randomness import Purpose, generator_for
from vjepa.envs.world import Suite, Tasks, World
from vjepa.evaluation.planning.goal_reaching import evaluate
from vjepa.evaluation.planning.model_policy import encode_one_by_one
from vjepa.evaluation.planning.read_out import encoded
from vjepa.planning.inverse_model import GoalInverseModel
from vjepa.training.world_model import WorldModel


@dataclass(frozen=True)
class Cloning:
    """How behaviour is cloned.

    Args:
        steps: of Adam.
        batch_size: windows per step.
        learning_rate: of the first step; it falls to 0 by a cosine.
        hidden_dim: of the network.
        max_chunks: goals lie at most so many action chunks ahead, all distances equally often.
        gains: factors of the actions before they are bounded; the one that is best on training tasks is used. Behaviour
            that wanders is on average a small step towards its goal.
        tuning_tasks: number of these tasks.
        max_frames: number of frames to encode, of randomly drawn episodes.
        seed: of the network, the episodes and the draws.
    """

    steps: int = 3000
    batch_size: int = 512
    learning_rate: float = 1e-3
    hidden_dim: int = 256
    max_chunks: int = 10
    gains: tuple[float, ...] = (1.0, 2.0, 4.0)
    tuning_tasks: int = 50
    max_frames: int = 40_000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "max_chunks", "max_frames", "tuning_tasks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} of behaviour cloning ({getattr(self, name)}) must be at least 1")
        if not self.gains:
            raise ValueError("gains of behaviour cloning must have at least one")


class EncodedFrames(NamedTuple):
    """Latents of concatenated episodes, and the action chunk after each frame."""

    latents: Float[Tensor, "F N D"]
    chunks: Float[Tensor, "F chunk_dim"]  # zeros after the last frame of an episode
    remaining: Int64[Tensor, " F"]  # later frames of the same episode


class CloningPolicy:
    """Predicts each action chunk from the latents of the present and of the goal.

    Args:
        model: encodes frames.
        network: trained.
        scale: of raw actions in the network's units.
        gain: factor of all actions.
    """

    def __init__(self, model: WorldModel, network: GoalInverseModel, scale: Float[Tensor, " A"], gain: float = 1.0):
        self.model = model
        self.network = network
        self.scale = scale
        self.gain = gain
        self.num_plans = 0
        self.plan_seconds = 0.0

    def begin(self, suite: Suite, tasks: Tasks) -> None:
        self.suite = suite
        self.goals = encode_one_by_one(self.model, suite.render_goals(tasks))
        self.time = 0

    @torch.inference_mode()
    def act(self, world: World) -> np.ndarray:  # (B, A)
        within = self.time % self.model.frame_step
        if within == 0:
            latents = encode_one_by_one(self.model, world.render())
            started = time.process_time()
            pairs = zip(latents, self.goals, strict=True)
            chunks = torch.cat([self.network(now[None], goal[None]) for now, goal in pairs])
            raw = chunks.unflatten(1, (self.model.frame_step, self.suite.action_dim)) * (self.gain * self.scale)
            self.actions = self.suite.action_limit.bounded(raw)
            self.num_plans += len(latents)
            self.plan_seconds += time.process_time() - started
        self.time += 1
        return self.actions[:, within].numpy()


def clone_behaviour(model: WorldModel, data: EpisodeDataModule, suite: Suite, cloning: Cloning) -> CloningPolicy:
    """Train on the data's training episodes. Raises ValueError where they do not fit the model."""
    _, std = data.training_episodes.action_statistics()
    scale = torch.from_numpy(std)
    network = trained_network(encode_training_frames(model, data, cloning), scale, cloning)
    tasks = suite.tasks(cloning.tuning_tasks, cloning.seed, "train")
    steps = int(data.store.lengths.max())
    policies = [CloningPolicy(model, network, scale, gain) for gain in cloning.gains]
    if len(policies) == 1:
        return policies[0]
    return max(policies, key=lambda policy: _success_rate(policy, suite, tasks, steps))


def _success_rate(policy: CloningPolicy, suite: Suite, tasks: Tasks, steps: int) -> float:
    """Over all radii, touched and at the end: a gain that rushes past goals is useless."""
    outcomes = evaluate(policy, suite, tasks, steps).outcomes
    return float(np.mean([outcomes.touched_after > 0, outcomes.at_end(suite.radii)]))


def trained_network(frames: EncodedFrames, scale: Float[Tensor, " A"], cloning: Cloning) -> GoalInverseModel:
    """From latents of a frame and of a later one to the action chunk after the first, in units of `scale`."""
    chunks = (frames.chunks.unflatten(1, (-1, len(scale))) / scale).flatten(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cloning.seed)
        network = GoalInverseModel(frames.latents[0].numel(), chunks.shape[1], cloning.hidden_dim)
    generator = torch.Generator().manual_seed(cloning.seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=cloning.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, cloning.steps)
    starts = torch.nonzero(frames.remaining).flatten()
    for _ in range(cloning.steps):
        now = starts[torch.randint(len(starts), (cloning.batch_size,), generator=generator)]
        farthest = frames.remaining[now].clamp(max=cloning.max_chunks)
        later = 1 + (torch.rand(len(now), generator=generator) * farthest).long().minimum(farthest - 1)
        loss = network.loss(frames.latents[now], frames.latents[now + later], chunks[now])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval().requires_grad_(False)


def encode_training_frames(model: WorldModel, data: EpisodeDataModule, cloning: Cloning) -> EncodedFrames:
    """Encode frames of training episodes at intervals of `frame_step` raw steps."""
    if (data.action_dim, data.frame_step) != (model.action_dim, model.frame_step):
        raise ValueError(
            f"the data has actions of {data.action_dim} numbers and frames every {data.frame_step} raw steps, the "
            f"model has {model.action_dim} and {model.frame_step}; behaviour is cloned on what the model was trained on"
        )
    store, step = data.store, model.frame_step
    latents, chunks, remaining, num_frames = [], [], [], 0
    numbers = data.training_episodes.numbers
    for episode in generator_for(cloning.seed, Purpose.BEHAVIOUR).permutation(numbers).tolist():
        num_chunks = int(store.lengths[episode]) // step
        if num_frames and num_frames + num_chunks + 1 > cloning.max_frames:
            break
        num_frames += num_chunks + 1
        latents.append(encoded(model, store.frames(episode, np.arange(num_chunks + 1) * step)))
        raw = torch.from_numpy(store.actions(episode, 0, num_chunks * step)).reshape(num_chunks, -1)
        chunks.append(torch.cat((raw, torch.zeros(1, raw.shape[1]))))
        remaining.append(torch.arange(num_chunks, -1, -1))
    return EncodedFrames(torch.cat(latents), torch.cat(chunks), torch.cat(remaining))
