"""A floor: goal-conditioned behaviour cloning on the very data and latents that the world model has.

Whatever was seen later in an episode is a goal that its actions did reach (hindsight; 1707.01495, 1906.05838). A model
that is worth its rollouts must beat this, which imagines nothing.
"""

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
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
        steps, batch_size, learning_rate: of Adam, the learning rate falling to 0 by a cosine.
        hidden_dim: of the network.
        max_blocks: a goal is what was seen up to so many blocks later, each distance as often as the others.
        gains: what actions are multiplied by, before they are cut to the limit; the best on tasks of training is taken.
            Behaviour that wanders is on average a small step towards what it came to see.
        tuning_tasks: so many.
        max_frames: of the data; so many are encoded, of episodes that are drawn at random, the others left out.
        seed: of the network, the episodes and the draws.
    """

    steps: int = 3000
    batch_size: int = 512
    learning_rate: float = 1e-3
    hidden_dim: int = 256
    max_blocks: int = 10
    gains: tuple[float, ...] = (1.0, 2.0, 4.0)
    tuning_tasks: int = 50
    max_frames: int = 40_000
    seed: int = 0

    def __post_init__(self) -> None:
        counts = {"steps": self.steps, "batch_size": self.batch_size, "max_blocks": self.max_blocks}
        for name, count in (counts | {"max_frames": self.max_frames, "tuning_tasks": self.tuning_tasks}).items():
            if count < 1:
                raise ValueError(f"{name} of behaviour cloning ({count}) must be at least 1")
        if not self.gains:
            raise ValueError("gains of behaviour cloning must have at least one")


class Seen(NamedTuple):
    """Frames of episodes as latents, one episode behind the other, and what was done after each."""

    latents: Tensor  # (F, N, D)
    blocks: Tensor  # (F, frame_step * A); of an episode's last frame zeros
    left: Tensor  # (F,) int64 frames that follow in the same episode


class CloningPolicy:
    """Looks at every block, and does what the network names.

    Args:
        model: encodes frames.
        network: trained.
        scale: (A,) what the network's actions are multiplied by, to be raw ones.
        gain: the same, once more.
    """

    def __init__(self, model: WorldModel, network: GoalInverseModel, scale: Tensor, gain: float = 1.0):
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
            blocks = torch.cat([self.network(now[None], goal[None]) for now, goal in pairs])
            raw = blocks.unflatten(1, (self.model.frame_step, self.suite.action_dim)) * (self.gain * self.scale)
            self.actions = self.suite.action_limit.bounded(raw)
            self.num_plans += len(latents)
            self.plan_seconds += time.process_time() - started
        self.time += 1
        return self.actions[:, within].numpy()


def clone_behaviour(model: WorldModel, data: EpisodeDataModule, suite: Suite, cloning: Cloning) -> CloningPolicy:
    """Train on the data's training episodes. Raises ValueError where they don't fit the model."""
    _, std = data.action_statistics()
    scale = torch.from_numpy(std)
    seen = see(model, data, cloning)
    network = trained_network(seen, scale, cloning)
    tasks = suite.tasks(cloning.tuning_tasks, cloning.seed, "train")
    steps = int(data.store.lengths.max())
    policies = [CloningPolicy(model, network, scale, gain) for gain in cloning.gains]
    if len(policies) == 1:
        return policies[0]
    return max(policies, key=lambda policy: _share_of_successes(policy, suite, tasks, steps))


def _share_of_successes(policy: CloningPolicy, suite: Suite, tasks: Tasks, steps: int) -> float:
    """Over all radii, touched and at the end: a gain that only rushes past goals is no good."""
    outcomes = evaluate(policy, suite, tasks, steps).outcomes
    return float(np.mean([outcomes.touched_after > 0, outcomes.at_end(suite.radii)]))


def trained_network(seen: Seen, scale: Tensor, cloning: Cloning) -> GoalInverseModel:
    """From the latents of now and of what was seen later to the block that was done now, in units of `scale`."""
    blocks = (seen.blocks.unflatten(1, (-1, len(scale))) / scale).flatten(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cloning.seed)
        network = GoalInverseModel(seen.latents[0].numel(), blocks.shape[1], cloning.hidden_dim)
    generator = torch.Generator().manual_seed(cloning.seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=cloning.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, cloning.steps)
    starts = torch.nonzero(seen.left).flatten()
    for _ in range(cloning.steps):
        now = starts[torch.randint(len(starts), (cloning.batch_size,), generator=generator)]
        farthest = seen.left[now].clamp(max=cloning.max_blocks)
        later = 1 + (torch.rand(len(now), generator=generator) * farthest).long().minimum(farthest - 1)
        loss = network.loss(seen.latents[now], seen.latents[now + later], blocks[now])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval().requires_grad_(False)


def see(model: WorldModel, data: EpisodeDataModule, cloning: Cloning) -> Seen:
    """Encode frames of training episodes, every `frame_step` raw steps."""
    if (data.action_dim, data.frame_step) != (model.action_dim, model.frame_step):
        raise ValueError(
            f"the data has actions of {data.action_dim} numbers and frames every {data.frame_step} raw steps, the "
            f"model has {model.action_dim} and {model.frame_step}; behaviour is cloned on what the model was trained on"
        )
    store, step = data.store, model.frame_step
    train, _ = data.split
    latents, blocks, left, num_frames = [], [], [], 0
    for episode in generator_for(cloning.seed, Purpose.BEHAVIOUR).permutation(train).tolist():
        num_blocks = int(store.lengths[episode]) // step
        if num_frames and num_frames + num_blocks + 1 > cloning.max_frames:
            break
        num_frames += num_blocks + 1
        frames = store.frames(episode, np.arange(num_blocks + 1) * step)
        latents.append(encoded(model, frames))
        raw = torch.from_numpy(store.actions(episode, 0, num_blocks * step)).reshape(num_blocks, -1)
        blocks.append(torch.cat((raw, torch.zeros(1, raw.shape[1]))))
        left.append(torch.arange(num_blocks, -1, -1))
    return Seen(torch.cat(latents), torch.cat(blocks), torch.cat(left))
