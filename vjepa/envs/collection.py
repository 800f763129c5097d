"""Collecting episodes of a simulated world for a world model."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from vjepa.data.episodes.collection import CollectionWriter
from vjepa.envs.behaviour import Behaviour
from vjepa.envs.world import Suite, Tasks


class Collected(NamedTuple):
    """Counts of what was written."""

    episodes: int
    transitions: int
    crossing_fraction: float  # of episodes that were in both rooms; NaN where there are no rooms


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
        folder: must not exist.
        steps: raw steps per episode.
        frame_interval: raw steps between stored frames.
        seed: of tasks and behaviour.
        world: settings that are written beside the data.
        episodes_per_batch: bounds the memory; it changes no episode.

    Raises:
        ValueError: counts below 1, or no agent ever came into the other room.
    """
    counts = {"episodes": episodes, "steps": steps, "frame_interval": frame_interval}
    for name, count in {**counts, "episodes_per_batch": episodes_per_batch}.items():
        if count < 1:
            raise ValueError(f"{name} ({count}) must be at least 1")
    tasks = suite.tasks(episodes, seed, "train")
    crossed: list[np.ndarray] = []
    with CollectionWriter(folder, frame_interval, world, suite.action_limit, suite.unit) as writer:
        for first in range(0, episodes, episodes_per_batch):
            batch = tasks.rows(slice(first, first + episodes_per_batch))
            frames, actions, states = _run(suite, behaviour, batch, steps, frame_interval)
            for episode in zip(frames, actions, states, strict=True):
                writer.add(*episode)
            if tasks.layouts.shape[1] == 2:  # rooms
                rooms = np.sign(states[:, :, 0] - batch.layouts[:, None, 0])
                crossed.append((rooms != rooms[:, :1]).any(1))
        fraction = float(np.concatenate(crossed).mean()) if crossed else float("nan")
        if fraction == 0 and episodes >= 50:
            raise ValueError(
                f"none of {episodes} episodes has been in both rooms, so no model can learn of the door from them; "
                "give more steps, or a behaviour that goes through it (door_probability)"
            )
    return Collected(episodes, episodes * steps, fraction)


def _run(
    suite: Suite, behaviour: Behaviour, tasks: Tasks, steps: int, frame_interval: int
) -> tuple[UInt8[np.ndarray, "B F H W 3"], Float32[np.ndarray, "B L A"], Float32[np.ndarray, "B F S"]]:
    world = suite.begin(tasks)
    behaviour.begin(suite, tasks, steps)
    frames, states, actions = [world.render()], [world.states], []
    for step in range(1, steps + 1):
        actions.append(suite.action_limit.bounded_array(behaviour.act(world)))
        world.step(actions[-1])
        if step % frame_interval == 0:
            frames.append(world.render())
            states.append(world.states)
    return (
        np.stack(frames, axis=1),
        np.stack(actions, axis=1).astype(np.float32),
        np.stack(states, axis=1).astype(np.float32),
    )
