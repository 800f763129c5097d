"""A policy that plans with a world model: it sees frames, and imagines in latents what its actions would lead to."""

import numpy as np
import torch
from torch import Tensor

from vjepa.data.randomness import Purpose, generator_for
from vjepa.envs.world import Suite, Tasks, World
from vjepa.planning.controller import RecedingHorizon, repeated
from vjepa.planning.cost import Imagine, Over, goal_cost
from vjepa.planning.planner import Plan, Planner, Problem
from vjepa.training.world_model import WorldModel


class ModelPolicy:
    """Plans every few blocks, with one action for all raw steps of a block. Dynamics that need states get the world's.

    Args:
        model: sees frames, and imagines.
        planner: searches for actions.
        replan_every: blocks that are done of a plan before the next is made.
        over: what of an imagined path costs, "path" or "last".
        terminal_weight: of the path's end beside its other latents.
    """

    def __init__(
        self,
        model: WorldModel,
        planner: Planner,
        replan_every: int = 2,
        over: Over = "path",
        terminal_weight: float = 1.0,
    ):
        self.model = model
        self.planner = planner
        self.replan_every = replan_every
        self.over: Over = over
        self.terminal_weight = terminal_weight
        self.num_plans = 0
        self.plan_seconds = 0.0

    def begin(self, suite: Suite, tasks: Tasks) -> None:
        self.suite = suite
        self.controller = RecedingHorizon(self.planner, planning_seeds(tasks), self.replan_every)
        self.goals = encode_one_by_one(self.model, suite.render_goals(tasks))  # (B, N, D)
        self.past = self.goals[:, None][:, :0]  # (B, C, N, D) of the last frames, as many as the dynamics look back at
        self.past_blocks = torch.zeros(len(self.goals), 0, self.model.frame_step * suite.action_dim)  # between them
        self.past_states: Tensor | None = None  # (B, C, S) at them, where the dynamics need states
        self.action = torch.zeros(len(self.goals), suite.action_dim)
        self.time = 0

    def act(self, world: World) -> np.ndarray:  # (B, A)
        block, within = divmod(self.time, self.model.frame_step)
        planned = block % self.replan_every
        if within == 0:
            if planned == 0 or self.model.dynamics.context > 1:
                self._look(world)
            if planned == 0:
                self.plans = self._plan()
            self.action = torch.stack([plan.actions[planned] for plan in self.plans])
        self.time += 1
        return self.action.numpy()

    def imagination(self, episode: int) -> Imagine:
        """From where an episode is now: action sequences (S, H, A) to latents (S, H, N, D)."""
        past, blocks = self.past[episode], self.past_blocks[episode]
        states = None if self.past_states is None else self.past_states[episode]

        def imagine(actions: Tensor) -> Tensor:
            to_come = repeated(actions, self.model.frame_step)
            if len(blocks):
                to_come = torch.cat((blocks.expand(len(actions), -1, -1), to_come), dim=1)
            of_frames = None if states is None else states.expand(len(actions), -1, -1)
            return self.model.imagine(past.expand(len(actions), -1, -1, -1), to_come, of_frames)

        return imagine

    def _look(self, world: World) -> None:
        latents = encode_one_by_one(self.model, world.render())
        done = repeated(self.action, self.model.frame_step)
        blocks = torch.cat((self.past_blocks, done[:, None]), dim=1)
        self.past = torch.cat((self.past, latents[:, None]), dim=1)[:, -self.model.dynamics.context :]
        self.past_blocks = blocks[:, blocks.shape[1] - (self.past.shape[1] - 1) :]
        if self.model.dynamics.needs_states:
            now = torch.as_tensor(world.states, dtype=torch.float32, device=latents.device)[:, None]
            before = now[:, :0] if self.past_states is None else self.past_states
            self.past_states = torch.cat((before, now), dim=1)[:, -self.model.dynamics.context :]

    def _plan(self) -> list[Plan]:
        problems = [
            Problem(
                goal_cost(self.imagination(episode), self.model.distance_to(goal), self.over, self.terminal_weight),
                self.past[episode, -1],
                goal,
                self.suite.action_dim,
                self.suite.action_limit,
            )
            for episode, goal in enumerate(self.goals)
        ]
        spent = self.controller.spent
        plans = self.controller.plan(problems)
        self.num_plans += self.controller.spent.plans - spent.plans
        self.plan_seconds += self.controller.spent.processor_seconds - spent.processor_seconds
        return plans


def planning_seeds(tasks: Tasks) -> np.ndarray:  # (B,) int64
    """Of the search of each episode: other random numbers than those of its world."""
    return np.array([generator_for(int(seed), Purpose.PLAN).integers(2**31) for seed in tasks.seeds])


def encode_one_by_one(
    model: WorldModel,
    frames: np.ndarray,  # (B, H, W, 3) uint8
) -> Tensor:  # (B, N, D)
    """Latents that depend on no other frame: kernels round in another way for other batch sizes."""
    return torch.cat([model.encode_frames(frame[None]) for frame in frames])
