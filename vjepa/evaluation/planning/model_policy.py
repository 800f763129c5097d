"""A policy that plans with a world model: it observes frames, and imagines the latents that its actions lead to."""

from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from vjepa.data.randomness import Purpose, generator_for
from vjepa.envs.world import Suite, Tasks
from vjepa.planning.controller import RecedingHorizon, repeated
from vjepa.planning.cost import Cost, DistanceToGoal, Imagine, Over, goal_cost
from vjepa.planning.limits import ActionLimit
from vjepa.planning.planner import Plan, Planner, Problem
from vjepa.training.world_model import WorldModel


class Observed(Protocol):
    """What a policy sees of B episodes: a `World`, or one frame of a camera."""

    @property
    def states(self) -> Float[np.ndarray, "B S"]: ...

    def render(self) -> UInt8[np.ndarray, "B H W 3"]: ...


class PlanningPolicy:
    """Plans every few action chunks; a chunk repeats one action. Subclasses implement `problems`.

    Args:
        planner: searches for actions.
        frame_step: raw steps of a chunk.
        replan_every: chunks of a plan that are executed before the next plan.
        over: latents of an imagined path that count, "path" or "last".
        terminal_weight: of the last latent of a path; the others have 1.
    """

    def __init__(
        self,
        planner: Planner,
        frame_step: int,
        replan_every: int = 2,
        over: Over = "path",
        terminal_weight: float = 1.0,
    ):
        self.planner = planner
        self.frame_step = frame_step
        self.replan_every = replan_every
        self.over: Over = over
        self.terminal_weight = terminal_weight
        self.num_plans = 0
        self.plan_seconds = 0.0

    def problems(self, world: Any) -> list[Problem]:
        """The planning problem of each episode."""
        raise NotImplementedError

    def observe(self, world: Any) -> None:
        """Called before each action chunk."""

    def begin(self, suite: Suite, tasks: Tasks) -> None:
        self.suite = suite
        self.tasks = tasks
        self.start(planning_seeds(tasks), suite.action_dim, suite.action_limit)

    def start(self, seeds: Int64[np.ndarray, " B"], action_dim: int, action_limit: ActionLimit) -> None:
        """New episodes, whose searches have these seeds."""
        self.action_dim, self.action_limit = action_dim, action_limit
        self.controller = RecedingHorizon(self.planner, seeds, self.replan_every)
        self.plans: list[Plan] = []
        self.action = torch.zeros(len(seeds), action_dim)
        self.time = 0

    def act(self, world: Observed) -> Float[np.ndarray, "B A"]:
        chunk, within = divmod(self.time, self.frame_step)
        if within == 0:
            self.observe(world)
            if chunk % self.replan_every == 0:
                spent = self.controller.spent
                self.plans = self.controller.plan(self.problems(world))
                self.num_plans += self.controller.spent.plans - spent.plans
                self.plan_seconds += self.controller.spent.processor_seconds - spent.processor_seconds
            self.action = torch.stack([plan.actions[chunk % self.replan_every] for plan in self.plans])
        self.time += 1
        return self.action.numpy()

    def cost(self, imagine: Imagine, distance: DistanceToGoal) -> Cost:
        return goal_cost(imagine, distance, self.over, self.terminal_weight)


class ModelPolicy(PlanningPolicy):
    """Plans with a world model. Dynamics that need states get those of the world.

    Args:
        model: encodes frames and imagines.
        planner, replan_every, over, terminal_weight: as of `PlanningPolicy`.
    """

    def __init__(
        self,
        model: WorldModel,
        planner: Planner,
        replan_every: int = 2,
        over: Over = "path",
        terminal_weight: float = 1.0,
    ):
        super().__init__(planner, model.frame_step, replan_every, over, terminal_weight)
        self.model = model

    def begin(self, suite: Suite, tasks: Tasks) -> None:
        super().begin(suite, tasks)
        self.aim_at(suite.render_goals(tasks))

    def aim_at(self, goals: UInt8[np.ndarray, "B H W 3"]) -> None:
        """Forget what was seen, and plan towards these frames."""
        self.goals = encode_one_by_one(self.model, goals)  # (B, N, D)
        # The last frames, as many as the dynamics look back at, with the chunks between them and the states.
        self.past = self.goals[:, None][:, :0]  # (B, C, N, D)
        self.past_chunks = torch.zeros(len(self.goals), 0, self.frame_step * self.action_dim)  # (B, C - 1, chunk_dim)
        self.past_states: Tensor | None = None  # (B, C, S)

    def observe(self, world: Observed) -> None:
        context = self.model.dynamics.context
        if context == 1 and (self.time // self.frame_step) % self.replan_every:
            return  # nothing is planned now, and nothing remembered
        latents = encode_one_by_one(self.model, world.render())
        chunks = torch.cat((self.past_chunks, repeated(self.action, self.frame_step)[:, None]), dim=1)
        self.past = torch.cat((self.past, latents[:, None]), dim=1)[:, -context:]
        self.past_chunks = chunks[:, chunks.shape[1] - (self.past.shape[1] - 1) :]
        if self.model.dynamics.needs_states:
            states = torch.as_tensor(world.states, dtype=torch.float32, device=latents.device)[:, None]
            before = states[:, :0] if self.past_states is None else self.past_states
            self.past_states = torch.cat((before, states), dim=1)[:, -context:]

    def imagination(self, episode: int) -> Imagine:
        """From the present of an episode: action sequences (S, H, A) to latents (S, H, N, D)."""
        past, past_chunks = self.past[episode], self.past_chunks[episode]
        past_states = None if self.past_states is None else self.past_states[episode]

        def imagine(actions: Tensor) -> Tensor:
            chunks = repeated(actions, self.frame_step)
            if len(past_chunks):
                chunks = torch.cat((past_chunks.expand(len(actions), -1, -1), chunks), dim=1)
            states = None if past_states is None else past_states.expand(len(actions), -1, -1)
            return self.model.imagine(past.expand(len(actions), -1, -1, -1), chunks, states)

        return imagine

    def problems(self, world: Observed) -> list[Problem]:
        costs = [self.cost(self.imagination(k), self.model.distance_to(goal)) for k, goal in enumerate(self.goals)]
        return [
            Problem(cost, past[-1], goal, self.action_dim, self.action_limit)
            for cost, past, goal in zip(costs, self.past, self.goals, strict=True)
        ]


def planning_seeds(tasks: Tasks) -> Int64[np.ndarray, " B"]:
    """Of the search of each episode, different from those of its world."""
    return np.array([generator_for(int(seed), Purpose.PLAN).integers(2**31) for seed in tasks.seeds])


def encode_one_by_one(model: WorldModel, frames: UInt8[np.ndarray, "B H W 3"]) -> Float[Tensor, "B N D"]:
    """Latents that depend on no other frame: kernels round differently for other batch sizes."""
    return torch.cat([model.encode_frames(frame[None]) for frame in frames])
