"""Does a policy reach its goals? Closed-loop episodes of equal length in a simulated world.

A goal is "touched" if the world is within the radius after any raw step, and reached "at the end" if it is within the
radius after the last one; policies are not told that they have arrived. Episodes run in batches whose size changes no
result: the episodes of a world are independent, and a policy must treat each of them separately.
"""

import math
import time
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8

from vjepa.envs.world import Suite, Tasks, World
from vjepa.planning.limits import ActionLimit


@runtime_checkable
class Policy(Protocol):
    """Chooses actions. With a model it observes frames and the goal's frame; baselines may observe more."""

    def begin(self, suite: Suite, tasks: Tasks) -> None:
        """Start new episodes and forget the previous ones."""
        ...

    def act(self, world: World) -> np.ndarray:  # (B, A), for the next raw step
        ...


@runtime_checkable
class CountsPlans(Protocol):
    """A policy that counts its plans and their time."""

    num_plans: int  # since the policy was made
    plan_seconds: float  # of the processor, for those plans


class Outcomes(NamedTuple):
    """Of B episodes, for R radii; distances in the suite's unit."""

    closest: Float[np.ndarray, " B"]  # smallest distance to the goal after any raw step
    last: Float[np.ndarray, " B"]  # after the last raw step
    touched_after: Int64[np.ndarray, "B R"]  # raw steps; 0 where it was never within the radius
    travelled: Float[np.ndarray, "B R"]  # until then; NaN where it never was
    shortest: Float[np.ndarray, " B"]  # from start to goal; NaN if unknown

    def at_end(self, radii: tuple[float, ...]) -> Bool[np.ndarray, "B R"]:
        return self.last[:, None] < np.array(radii)


class Evaluation(NamedTuple):
    outcomes: Outcomes
    actions: Float[np.ndarray, "K T A"]  # of the first K episodes, for replays
    num_plans: int
    plan_seconds: float  # of the processor
    seconds: float  # of the processor, including frames, latents and the world's steps


def evaluate(
    policy: Policy,
    suite: Suite,
    tasks: Tasks,
    steps: int = 200,
    episodes_per_batch: int = 50,
    keep: int = 0,
) -> Evaluation:
    """Run every task for so many raw steps.

    Args:
        policy: chooses actions.
        suite: of the tasks.
        tasks: one for each episode.
        steps: raw steps of each episode.
        episodes_per_batch: bounds the memory.
        keep: number of first episodes whose actions are returned.

    Raises:
        ValueError: an episode would start at its goal.
    """
    require_starts_away_from_goals(suite, tasks)
    plans_before, planning_before = _spent(policy)
    started = time.process_time()
    parts = [
        _run_batch(policy, suite, tasks.rows(slice(first, first + episodes_per_batch)), steps, keep - first)
        for first in range(0, len(tasks.seeds), episodes_per_batch)
    ]
    seconds = time.process_time() - started
    outcomes = Outcomes(*(np.concatenate(columns) for columns in zip(*(part[0] for part in parts), strict=True)))
    actions = np.concatenate([part[1] for part in parts])
    num_plans, planning = _spent(policy)
    return Evaluation(outcomes, actions, num_plans - plans_before, planning - planning_before, seconds)


def _spent(policy: Policy) -> tuple[int, float]:
    return (policy.num_plans, policy.plan_seconds) if isinstance(policy, CountsPlans) else (0, 0.0)


def _run_batch(
    policy: Policy, suite: Suite, tasks: Tasks, steps: int, keep: int
) -> tuple[Outcomes, np.ndarray]:  # outcomes and (K, T, A)
    radii = np.array(suite.radii)
    shape = len(tasks.seeds), len(radii)
    closest, touched_after = np.full(shape[0], np.inf), np.zeros(shape, np.int64)
    travelled, travelled_until = np.zeros(shape[0]), np.full(shape, np.nan)
    actions = np.zeros((min(max(keep, 0), shape[0]), steps, suite.action_dim))
    world = suite.begin(tasks)
    policy.begin(suite, tasks)
    states = world.states
    distances = suite.distances(tasks, states)
    for step in range(1, steps + 1):
        action = policy.act(world)
        actions[:, step - 1] = action[: len(actions)]
        world.step(action)
        states, before = world.states, states
        travelled += suite.distances(tasks._replace(goals=before), states)
        distances = suite.distances(tasks, states)
        closest = np.minimum(closest, distances)
        newly = (distances[:, None] < radii) & (touched_after == 0)
        touched_after[newly] = step
        travelled_until = np.where(newly, travelled[:, None], travelled_until)
    return Outcomes(closest, distances, touched_after, travelled_until, suite.shortest_paths(tasks)), actions


def require_starts_away_from_goals(suite: Suite, tasks: Tasks) -> None:
    """Raise ValueError where doing nothing would reach the goal."""
    inside = np.flatnonzero(suite.distances(tasks, tasks.starts) < max(suite.radii))
    if len(inside):
        raise ValueError(
            f"{len(inside)} of {len(tasks.seeds)} episodes (the first is number {inside[0]}) start within the largest "
            f"radius ({max(suite.radii)} {suite.unit}) of their goal; draw tasks that start farther away"
        )


def require_fitting(
    suite: Suite,
    action_dim: int,
    frame_size: tuple[int, int],
    action_limit: ActionLimit | None = None,  # None where it is not known
) -> None:
    """Raise ValueError where a model's frames or actions differ from those of a suite's worlds."""
    if tuple(frame_size) != tuple(suite.frame_size):
        raise ValueError(
            f"the model sees frames of {frame_size[0]}x{frame_size[1]} pixels, and those of {suite.name}, goals too, "
            f"have {suite.frame_size[0]}x{suite.frame_size[1]}; give a checkpoint that was trained on this suite"
        )
    if action_dim != suite.action_dim:
        raise ValueError(
            f"the model's actions have {action_dim} numbers, those of {suite.name} have {suite.action_dim}; give a "
            f"checkpoint that was trained on this suite"
        )
    theirs, ours = suite.action_limit, action_limit
    if ours and (ours.kind != theirs.kind or not math.isclose(ours.size, theirs.size, rel_tol=1e-6)):  # float32
        raise ValueError(
            f"the model's actions are bounded by {ours.size:g} ({ours.kind}), those of {suite.name} by "
            f"{theirs.size:g} ({theirs.kind}); give a checkpoint that was trained on this suite"
        )


class Replay(NamedTuple):
    states: Float[np.ndarray, "K frames S"]
    frames: UInt8[np.ndarray, "K frames H W 3"]


def replay(
    suite: Suite,
    tasks: Tasks,  # K of them
    actions: Float[np.ndarray, "K T A"],
) -> Replay:
    """States and frames of episodes, which the same actions reproduce."""
    world = suite.begin(tasks)
    states, frames = [world.states], [world.render()]
    for step in range(actions.shape[1]):
        world.step(actions[:, step])
        states.append(world.states)
        frames.append(world.render())
    return Replay(np.stack(states, axis=1), np.stack(frames, axis=1))
