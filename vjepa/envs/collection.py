"""Collecting episodes of a simulated world for a world model to learn from."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vjepa.data.episodes.collection import CollectionWriter
from vjepa.envs.behaviour import Behaviour
from vjepa.envs.world import Suite, Tasks


class Collected(NamedTuple):
    """What was written."""

    episodes: int
    transitions: int
    crossing_fraction: float  # of episodes that have been in both rooms; NaN where there are no rooms


def collect(
    suite: Suite,
    behaviour: Behaviour,
    folder: Path,
    episodes: int = 1500,
    steps: int = 128,
    frame_interval: int = 4,
    seed: int = 0,
    world: dict[str, Any] | None = None,
    episodes_per_batch: int = 250,
) -> Collected:
    """Run episodes of the suite's "train" split and write a collection.

    Args:
        suite: whose worlds are run.
        behaviour: what is done in them.
        folder: that must not be there yet.
        episodes, steps: how many, and raw steps of each.
        frame_interval: raw steps from one frame that is kept to the next.
        seed: of tasks and behaviour.
        world: settings that are written beside the data.
        episodes_per_batch: bounds the memory; it changes no episode.

    Raises:
        ValueError: counts below 1, or no agent ever came into the other room.
    """
    counts = {
        "episodes": episodes,
        "steps": steps,
        "frame_interval": frame_interval,
        "episodes_per_batch": episodes_per_batch,
    }
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} ({count}) must be at least 1")
    tasks = suite.tasks(episodes, seed, "train")
    has_rooms = tasks.layouts.shape[1] == 2
    crossed: list[np.ndarray] = []
    with CollectionWriter(folder, frame_interval, world, suite.action_limit, suite.unit) as writer:
        for first in range(0, episodes, episodes_per_batch):
            part = tasks.rows(slice(first, first + episodes_per_batch))
            frames, actions, states = _run(suite, behaviour, part, steps, frame_interval)
            for episode in zip(frames, actions, states, strict=True):
                writer.add(*episode)
            if has_rooms:
                rooms = np.sign(states[:, :, 0] - part.layouts[:, None, 0])
                crossed.append((rooms != rooms[:, :1]).any(1))
        share = float(np.concatenate(crossed).mean()) if crossed else float("nan")
        if share == 0 and episodes >= 50:
            raise ValueError(
                f"none of {episodes} episodes has been in both rooms, and nobody can learn of the door from them; give "
                f"more steps, or a behaviour that goes through it (door_probability)"
            )
    return Collected(episodes, episodes * steps, share)


def _run(
    suite: Suite, behaviour: Behaviour, tasks: Tasks, steps: int, frame_interval: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # (B, F, H, W, 3) uint8, (B, L, A) float32, (B, F, S) float32
    world = suite.begin(tasks)
    behaviour.begin(suite, tasks, steps)
    frames, states, actions = [world.render()], [world.states], []
    for step in range(1, steps + 1):
        done = suite.action_limit.bounded_array(behaviour.act(world))
        world.step(done)
        actions.append(done)
        if step % frame_interval == 0:
            frames.append(world.render())
            states.append(world.states)
    return (
        np.stack(frames, axis=1),
        np.stack(actions, axis=1).astype(np.float32),
        np.stack(states, axis=1).astype(np.float32),
    )
